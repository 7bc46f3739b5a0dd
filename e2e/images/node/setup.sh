#!/bin/bash
# Turns a Debian root filesystem ($1) into a kind node: what kind's own base and node
# Dockerfiles do, without a registry. Called by mmdebstrap as a customize hook with
#   KIND_FILES  images/base/files of the kind module
#   BIN         folder with kubelet, kubeadm, kubectl
#   IMAGES      folder with the component images as tar archives
#   VERSION     the Kubernetes version, v1.2.3
set -euo pipefail
root=$1

cp -r --no-preserve=mode,ownership "$KIND_FILES"/. "$root"/
chmod 0755 "$root"/usr/local/bin/* "$root"/kind "$root"/kind/bin "$root"/kind/bin/*
rm -rf "$root"/LICENSES "$root"/etc/systemd/system/containerd-fuse-overlayfs.service

# Debian's containerd instead of kind's own build.
rm -f "$root"/lib/systemd/system/containerd.service
sed -i 's#/usr/local/bin/containerd#/usr/bin/containerd#' "$root"/etc/systemd/system/containerd.service
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root"/etc/containerd/config.toml
chroot "$root" ctr oci spec |
  chroot "$root" jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
    >"$root"/etc/containerd/cri-base.json
mkdir -p "$root"/opt/cni/bin "$root"/etc/cni/net.d "$root"/etc/kubernetes/manifests "$root"/kind/images
cp -a "$root"/usr/lib/cni/* "$root"/opt/cni/bin/

# One node needs no CNI daemon: a bridge-less point-to-point network will do.
cat >"$root"/etc/cni/net.d/10-single-node.conflist <<'CNI'
{
  "cniVersion": "0.3.1",
  "name": "single-node",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": "10.244.0.0/24"}]]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
CNI

# kind ships component images inside the node image; so do we.
cp "$IMAGES"/*.tar "$root"/kind/images/
cat >"$root"/etc/systemd/system/import-images.service <<'UNIT'
[Unit]
Description=Import the component images into containerd
Requires=containerd.service
After=containerd.service
Before=kubelet.service
ConditionPathExists=!/kind/images-imported
[Service]
Type=oneshot
ExecStart=/bin/sh -ec 'for t in /kind/images/*.tar; do ctr -n k8s.io images import "$t"; done; touch /kind/images-imported'
[Install]
WantedBy=multi-user.target
UNIT

# A packet to a service's address that no service has translated must go nowhere. Until kube-proxy
# knows a new service such packets leave the node, and where the network's edge answers for every
# address (sandboxes with an egress proxy), the API server keeps that wrong connection for its
# metrics API for good. These rules come after the translation; 10.96.0.0/16 is kind's service range.
cat >"$root"/etc/systemd/system/keep-service-packets.service <<'UNIT'
[Unit]
Description=Reject packets to service addresses that no service has translated
Before=kubelet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for chain in OUTPUT FORWARD; do \
  iptables -w -A $$chain -d 10.96.0.0/16 -p tcp -j REJECT --reject-with tcp-reset; \
  iptables -w -A $$chain -d 10.96.0.0/16 -j REJECT; done'
[Install]
WantedBy=multi-user.target
UNIT

install -m 0755 "$BIN"/kubelet "$BIN"/kubeadm "$BIN"/kubectl "$root"/usr/bin/
printf '%s' "$VERSION" >"$root"/kind/version

# Units that make no sense in a container; kind's base image removes the same.
find "$root"/lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f "$root"/lib/systemd/system/multi-user.target.wants/* "$root"/etc/systemd/system/*.wants/* \
  "$root"/lib/systemd/system/local-fs.target.wants/* "$root"/lib/systemd/system/sockets.target.wants/*udev* \
  "$root"/lib/systemd/system/sockets.target.wants/*initctl* "$root"/lib/systemd/system/basic.target.wants/*
echo ReadKMsg=no >>"$root"/etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd "$root"/sbin/init
chroot "$root" systemctl enable kubelet.service containerd.service undo-mount-hacks.service import-images.service keep-service-packets.service
chroot "$root" systemctl mask systemd-binfmt.service
