package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// index is the image: one for each binary, made of the binary and the licenses alone. It says
// neither when it was built, nor by whom, nor where.
func index(version string, notices []byte, binaries []string) (v1.ImageIndex, error) {
	if version == "" || len(binaries) == 0 {
		return nil, errors.New("an image needs -version and binaries")
	}
	license, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	all := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, binary := range binaries {
		info, err := buildinfo.ReadFile(binary)
		if err != nil {
			return nil, err
		}
		platform, err := platformOf(info)
		if err != nil {
			return nil, err
		}
		program, err := os.ReadFile(binary)
		if err != nil {
			return nil, err
		}
		image, err := image(version, platform, []file{
			{"licenses/LICENSE", 0o644, license},
			{"licenses/THIRD_PARTY_LICENSES", 0o644, notices},
			{"usr/local/bin/app", 0o755, program},
		})
		if err != nil {
			return nil, err
		}
		all = mutate.AppendManifests(all, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	return all, nil
}

// platformOf is what a binary says that it runs on.
func platformOf(info *buildinfo.BuildInfo) (v1.Platform, error) {
	var platform v1.Platform
	for _, setting := range info.Settings {
		switch setting.Key {
		case "GOOS":
			platform.OS = setting.Value
		case "GOARCH":
			platform.Architecture = setting.Value
		}
	}
	if platform.OS != "linux" {
		return v1.Platform{}, fmt.Errorf("a binary is for %s: an image is made of binaries for linux", platform.OS)
	}
	return platform, nil
}

type file struct {
	path    string // without a leading slash
	mode    int64
	content []byte
}

// image is what the Dockerfile makes, and a test holds the two together.
func image(version string, platform v1.Platform, files []file) (v1.Image, error) {
	epoch := v1.Time{Time: time.Unix(0, 0).UTC()} // some time has to be there
	packed, err := pack(files)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	with, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{Created: epoch, CreatedBy: "hack/supply"}})
	if err != nil {
		return nil, err
	}
	config, err := with.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = epoch
	config.OS, config.Architecture = platform.OS, platform.Architecture
	config.Config = v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/usr/local/bin/app"},
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":       "prefect-keda",
			"org.opencontainers.image.description": "Run Prefect on Kubernetes and pay nothing while nothing is due",
			"org.opencontainers.image.source":      "https://github.com/prefect-keda/prefect-keda",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     version,
		},
	}
	return mutate.ConfigFile(with, config)
}

// pack makes a layer of files that belong to root and are as old as Unix, with their folders.
func pack(files []file) ([]byte, error) {
	var packed bytes.Buffer
	to := tar.NewWriter(&packed)
	made := map[string]bool{}
	for _, f := range files {
		for cut := range f.path {
			dir := f.path[:cut]
			if f.path[cut] != '/' || made[dir] {
				continue
			}
			made[dir] = true
			if err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, Format: tar.FormatUSTAR}); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.content)), Format: tar.FormatUSTAR}
		if err := to.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := to.Write(f.content); err != nil {
			return nil, err
		}
	}
	return packed.Bytes(), to.Close()
}

// write puts the image into a folder as an OCI layout, with each platform's digest in a file
// beside it.
func write(folder string, image v1.ImageIndex) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if _, err := layout.Write(folder, image); err != nil {
		return err
	}
	manifest, err := image.IndexManifest()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	if err := os.WriteFile(folder+".digest", []byte(digest.String()+"\n"), 0o644); err != nil {
		return err
	}
	for _, of := range manifest.Manifests {
		name := folder + "-" + of.Platform.OS + "-" + of.Platform.Architecture + ".digest"
		if err := os.WriteFile(name, []byte(of.Digest.String()+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
