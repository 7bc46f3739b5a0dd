package main

import (
	"context"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"
)

// writeSBOM writes the modules that a binary says it is linked from, with their licenses and
// the checksums of go.sum. The binary must be of this tree, for the licenses are its modules'.
// There is no time and no serial number in it, so the same binary has the same SBOM.
func writeSBOM(ctx context.Context, to io.Writer, version, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	modules, err := linked(ctx)
	if err != nil {
		return err
	}
	ofTree := map[string]module{}
	for _, m := range modules {
		ofTree[m.path+" "+m.version] = m
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	product := component(cdx.ComponentTypeApplication, info.Main.Path, version, settings)
	product.Licenses = choices([]string{"Apache-2.0"})
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &product}

	var components []cdx.Component
	var refs []string
	add := func(path, version, sum string) error {
		m, ok := ofTree[path+" "+version]
		if !ok {
			return fmt.Errorf("%s holds %s %s, which this tree does not link: check out what it was built from", binary, path, version)
		}
		texts, err := m.texts()
		if err != nil {
			return err
		}
		ids, err := granted(m, texts)
		if err != nil {
			return err
		}
		c := component(cdx.ComponentTypeLibrary, path, version, nil)
		c.Licenses = choices(ids)
		if hash, ok := strings.CutPrefix(sum, "h1:"); ok {
			raw, err := base64.StdEncoding.DecodeString(hash)
			if err != nil {
				return fmt.Errorf("the checksum of %s: %w", path, err)
			}
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
		}
		components = append(components, c)
		refs = append(refs, c.BOMRef)
		return nil
	}
	if err := add("std", strings.TrimPrefix(info.GoVersion, "go"), ""); err != nil {
		return err
	}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			return fmt.Errorf("%s is replaced in %s", dep.Path, binary)
		}
		if err := add(dep.Path, dep.Version, dep.Sum); err != nil {
			return err
		}
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: product.BOMRef, Dependencies: &refs}}
	// Not the newest version, which scanners learn years later.
	return cdx.NewBOMEncoder(to, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6)
}

// component names a module as scanners look it up. A binary's platform is part of its name.
func component(kind cdx.ComponentType, path, version string, settings map[string]string) cdx.Component {
	var qualifiers packageurl.Qualifiers
	for _, key := range []string{"GOARCH", "GOOS"} {
		if settings[key] != "" {
			qualifiers = append(qualifiers, packageurl.Qualifier{Key: strings.ToLower(key), Value: settings[key]})
		}
	}
	namespace, name := "", path
	if cut := strings.LastIndex(path, "/"); cut >= 0 {
		namespace, name = path[:cut], path[cut+1:]
	}
	url := packageurl.NewPackageURL(packageurl.TypeGolang, namespace, name, version, qualifiers, "").ToString()
	return cdx.Component{BOMRef: url, Type: kind, Name: path, Version: version, PackageURL: url}
}

func choices(ids []string) *cdx.Licenses {
	var all cdx.Licenses
	for _, id := range ids {
		all = append(all, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return &all
}
