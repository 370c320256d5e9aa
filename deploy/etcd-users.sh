#!/bin/sh
# Makes the users of a new etcd: root, and one who has the keys of the fabric and no others.
set -eu
cd /etc/infrafabric
etcdctl user add root --interactive=false < etcd-root-password
etcdctl user grant-role root root
etcdctl role add infrafabric
etcdctl role grant-permission infrafabric --prefix=true readwrite infrafabric/
etcdctl user add infrafabric --interactive=false < etcd-password
etcdctl user grant-role infrafabric infrafabric
etcdctl auth enable
