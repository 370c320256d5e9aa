"""Generated from server/wire/etcd.proto (make generate)."""
