package cluster

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// nodePackages are what kind's base image installs, plus Debian's container runtime.
const nodePackages = "systemd,systemd-sysv,dbus,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod," +
	"libseccomp2,pigz,e2fsprogs,bash,ca-certificates,curl,jq,procps,socat,runc,containerd,containernetworking-plugins"

// kubeProxyPackages: kube-proxy calls iptables.
const kubeProxyPackages = "iptables,conntrack,kmod,nftables"

// nodeImage builds a kindest/node of our own from Go modules and Debian
// packages, and returns its name.
func (e *env) nodeImage(ctx context.Context) (string, error) {
	if err := e.aptInstall(ctx, map[string]string{"mmdebstrap": "mmdebstrap", "jq": "jq"}); err != nil {
		return "", err
	}
	binaries := map[string]string{}
	for _, name := range []string{"kubeadm", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		path, err := e.build(ctx, kubernetesComponent(name))
		if err != nil {
			return "", err
		}
		binaries[name] = path
	}
	for _, c := range []component{
		{name: "etcd", module: "etcd", pkg: "go.etcd.io/etcd/server/v3"},
		{name: "coredns", module: "coredns", pkg: "."},
		{name: "pause", module: "pause", pkg: "."},
	} {
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
	ref := "prefect-keda-node:" + key(inputs...)
	if e.hasImage(ctx, ref) {
		e.say.cached("node image " + ref)
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
			return fmt.Errorf("kubeadm wants the image %s, and nothing here builds %s", ref, name)
		}
		layout := imageLayout{files: map[string]string{"/usr/local/bin/" + name: binary}}
		switch name {
		case "coredns", "pause":
			layout = imageLayout{files: map[string]string{"/" + name: binary}, entrypoint: "/" + name}
		case "kube-proxy":
			layout.base, layout.links = proxy, iptablesLinks()
		}
		if err := e.importImage(ctx, ref, layout); err != nil {
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

// imageLayout is an image of static binaries, on nothing or on a root filesystem.
type imageLayout struct {
	base       string            // a tar archive to begin with; may be empty
	files      map[string]string // path in the image → file here
	links      map[string]string // path in the image → what it points to
	entrypoint string
	user       string
}

// importImage makes an image without a Dockerfile, hence without a builder.
func (e *env) importImage(ctx context.Context, ref string, l imageLayout) error {
	archive, err := os.CreateTemp(e.cache, "image-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	if err := writeLayout(archive, l); err != nil {
		return fmt.Errorf("write image %s: %w", ref, err)
	}
	args := []string{"import", "-c", "ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if l.entrypoint != "" {
		args = append(args, "-c", `ENTRYPOINT ["`+l.entrypoint+`"]`)
	}
	if l.user != "" {
		args = append(args, "-c", "USER "+l.user)
	}
	_, err = e.docker(ctx, append(args, archive.Name(), ref)...)
	return err
}

func writeLayout(w io.Writer, l imageLayout) error {
	out := tar.NewWriter(w)
	if l.base != "" {
		if err := copyTar(out, l.base); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(l.files) {
		if err := addFile(out, strings.TrimPrefix(name, "/"), l.files[name]); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(l.links) {
		h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Linkname: l.links[name], Typeflag: tar.TypeSymlink, Mode: 0o777}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
	}
	return out.Close()
}

func copyTar(out *tar.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := tar.NewReader(f)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
}

func addFile(out *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}
