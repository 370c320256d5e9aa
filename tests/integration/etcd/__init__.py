"""The store on a real etcd, with things going wrong."""
