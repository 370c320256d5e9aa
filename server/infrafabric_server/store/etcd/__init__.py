"""The store on an etcd cluster: the distributed adapter."""

from infrafabric_server.store.etcd.address import Access, EtcdAddress
from infrafabric_server.store.etcd.observer import Observer
from infrafabric_server.store.etcd.store import EtcdOptions, EtcdStore

__all__ = ["Access", "EtcdAddress", "EtcdOptions", "EtcdStore", "Observer"]
