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

// imageLayout is an image of static binaries, on nothing or on a root filesystem.
type imageLayout struct {
	base       string            // a tar archive to begin with; may be empty
	files      map[string]string // path in the image → file here
	links      map[string]string // path in the image → what it points to
	entrypoint string
	user       string
}

// inputsLabel records on an image what it was made from. The image's name does not tell:
// it has the same version for every build.
const inputsLabel = "prefect-keda.inputs"

// key of the layout; cached binaries' names end in the hash of their own inputs.
func (l imageLayout) key() string {
	inputs := []string{filepath.Base(l.base), l.entrypoint, l.user}
	for _, name := range sortedKeys(l.files) {
		inputs = append(inputs, name, filepath.Base(l.files[name]))
	}
	for _, name := range sortedKeys(l.links) {
		inputs = append(inputs, name, l.links[name])
	}
	return key(inputs...)
}

// ensureImage makes the image if Docker does not have it, or has one made from other inputs.
func (e *env) ensureImage(ctx context.Context, ref string, l imageLayout) error {
	have, err := e.docker(ctx, "image", "inspect", "-f", `{{index .Config.Labels "`+inputsLabel+`"}}`, ref)
	if err == nil && strings.TrimSpace(have) == l.key() {
		e.say.cached()
		return nil
	}
	return e.importImage(ctx, ref, l)
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
	args := []string{"import", "-c", "ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "-c", "LABEL " + inputsLabel + "=" + l.key()}
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
