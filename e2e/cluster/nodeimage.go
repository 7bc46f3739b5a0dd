package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nodePackages are what kind's base image installs, plus Debian's container runtime.
const nodePackages = "systemd,systemd-sysv,dbus,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod," +
	"libseccomp2,pigz,e2fsprogs,bash,ca-certificates,curl,jq,procps,socat,runc,containerd,containernetworking-plugins"

// nodeRepository is the name of node images built here.
const nodeRepository = "prefect-keda-node"

// kubeProxyPackages: kube-proxy calls iptables.
const kubeProxyPackages = "iptables,conntrack,kmod,nftables"

// nodeImage builds a kindest/node of our own from Go modules and Debian
// packages, and returns its name.
func (e *env) nodeImage(ctx context.Context) (string, error) {
	if err := e.aptInstall(ctx, map[string]string{"mmdebstrap": "mmdebstrap"}); err != nil {
		return "", err
	}
	binaries := map[string]string{}
	for _, c := range nodeComponents() {
		path, err := e.build(ctx, c)
		if err != nil {
			return "", err
		}
		binaries[c.name] = path
	}
	setup := filepath.Join(e.root, "e2e/images/node/setup.sh")
	inputs, err := fileInputs(setup)
	if err != nil {
		return "", err
	}
	for _, path := range sortedValues(binaries) {
		inputs = append(inputs, filepath.Base(path)) // ends in the hash of what it was built from
	}
	inputs = append(inputs, nodePackages, kubeProxyPackages, strings.Join(sortedKeys(iptablesLinks()), ","))
	ref := nodeRepository + ":" + key(inputs...)
	if e.hasImage(ctx, ref) {
		e.say.cached()
		return ref, nil
	}
	return ref, e.say.step("build the node image "+ref+" (Debian packages)", func() error {
		return e.buildNodeImage(ctx, ref, setup, binaries)
	})
}

func (e *env) buildNodeImage(ctx context.Context, ref, setup string, binaries map[string]string) error {
	work, err := os.MkdirTemp(e.cache, "node-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	bin, images := filepath.Join(work, "bin"), filepath.Join(work, "images")
	for _, dir := range []string{bin, images} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"kubelet", "kubeadm", "kubectl"} {
		if err := os.Symlink(binaries[name], filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	if err := e.componentImages(ctx, binaries, images); err != nil {
		return err
	}
	kindDir, err := e.moduleDir(ctx, filepath.Join(e.root, "e2e/cluster/modules/kind"), "sigs.k8s.io/kind")
	if err != nil {
		return err
	}
	rootfs := filepath.Join(work, "rootfs.tar")
	if _, err := run(ctx, command{
		name: "mmdebstrap",
		args: []string{
			"--quiet", "--variant=minbase", "--include=" + nodePackages, "--customize-hook=bash " + setup + ` "$1"`, "bookworm", rootfs,
		},
		env: []string{"KIND_FILES=" + filepath.Join(kindDir, "images/base/files"), "BIN=" + bin, "IMAGES=" + images, "VERSION=" + kubernetesVersion},
	}); err != nil {
		return err
	}
	_, err = e.docker(ctx, "import",
		"-c", "ENV container=docker",
		"-c", `ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]`, rootfs, ref)
	return err
}

// componentImages saves the control plane's images under the names kubeadm asks for.
func (e *env) componentImages(ctx context.Context, binaries map[string]string, dir string) error {
	out, err := run(ctx, command{name: binaries["kubeadm"], args: []string{"config", "images", "list", "--kubernetes-version", kubernetesVersion}})
	if err != nil {
		return err
	}
	proxy, err := e.artifact("Debian packages for kube-proxy", "kube-proxy-rootfs.tar", []string{kubeProxyPackages}, func(path string) error {
		_, err := run(ctx, command{name: "mmdebstrap", args: []string{
			"--quiet", "--variant=extract", "--include=" + kubeProxyPackages + ",bash,coreutils",
			"--format=tar", "bookworm", path,
		}})
		return err
	})
	if err != nil {
		return err
	}
	refs := append(strings.Fields(out), "registry.k8s.io/pause:3.10") // containerd's config names this one
	done := map[string]bool{}
	for _, ref := range refs {
		if done[ref] {
			continue
		}
		done[ref] = true
		name := ref[strings.LastIndex(ref, "/")+1 : strings.LastIndex(ref, ":")]
		binary, ok := binaries[name]
		if !ok {
			return fmt.Errorf("kubeadm needs the image %s, but this package does not build %s: add it", ref, name)
		}
		layout := imageLayout{files: map[string]string{"/usr/local/bin/" + name: binary}}
		switch name {
		case "coredns", "pause":
			layout = imageLayout{files: map[string]string{"/" + name: binary}, entrypoint: "/" + name}
		case "kube-proxy":
			layout.base, layout.links = proxy, iptablesLinks()
		}
		if err := e.ensureImage(ctx, ref, layout); err != nil {
			return err
		}
		if _, err := e.docker(ctx, "save", "-o", filepath.Join(dir, fmt.Sprintf("%02d-%s.tar", len(done), name)), ref); err != nil {
			return err
		}
	}
	return nil
}

// iptablesLinks are what Debian's update-alternatives would make; packages that
// are only unpacked lack them.
func iptablesLinks() map[string]string {
	links := map[string]string{}
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			links["/usr/sbin/"+name+suffix] = "xtables-nft-multi"
		}
	}
	return links
}
