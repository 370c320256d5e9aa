"""The governor on the wire: protobuf in, one call, protobuf out."""
