package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

const kedaVersion = "2.21.0"

const (
	kedaImage        = "ghcr.io/kedacore/keda:" + kedaVersion
	kedaAdapterImage = "ghcr.io/kedacore/keda-metrics-apiserver:" + kedaVersion
)

// installKEDA applies KEDA's own minimal manifests (no webhooks) from its Go
// module, at the version the product is built against.
func (c *Cluster) installKEDA(ctx context.Context) error {
	source, err := c.env.moduleDir(ctx, c.env.root, "github.com/kedacore/keda/v2")
	if err != nil {
		return err
	}
	if !c.pulls {
		if err := c.buildKEDA(ctx, source); err != nil {
			return err
		}
	}
	err = c.env.say.step("install KEDA", func() error {
		config, err := c.Copy(ctx, filepath.Join(source, "config"))
		if err != nil {
			return err
		}
		manifests, err := c.Kubectl(ctx, "kustomize", config+"/minimal")
		if err != nil {
			return err
		}
		// Server-side: the ScaledJob CRD is too large for the annotation client-side apply keeps.
		_, err = c.KubectlInput(ctx, strings.NewReader(pinKEDA(manifests)), "apply", "--server-side", "--force-conflicts", "-f", "-")
		return err
	})
	if err != nil {
		return err
	}
	return c.env.say.step("wait for KEDA", func() error { return c.kedaAvailable(ctx, "5m") })
}

// pinKEDA replaces the module's development images by the released ones, and lets the node
// use loaded images.
func pinKEDA(manifests string) string {
	return strings.NewReplacer(
		"ghcr.io/kedacore/keda:main", kedaImage,
		"ghcr.io/kedacore/keda-metrics-apiserver:main", kedaAdapterImage,
		"imagePullPolicy: Always", "imagePullPolicy: IfNotPresent",
	).Replace(manifests)
}

// kedaAvailable waits until the operator runs and its metrics can be asked for.
func (c *Cluster) kedaAvailable(ctx context.Context, timeout string) error {
	for _, d := range []string{"keda-operator", "keda-metrics-apiserver"} {
		if _, err := c.Kubectl(ctx, "-n", "keda", "rollout", "status", "deployment/"+d, "--timeout="+timeout); err != nil {
			return err
		}
	}
	const metrics = "apiservice/v1beta1.external.metrics.k8s.io"
	if _, err := c.Kubectl(ctx, "wait", "--for=condition=Available", metrics, "--timeout="+timeout); err != nil {
		why, _ := c.Kubectl(ctx, "get", metrics, "-o", "jsonpath={.status.conditions[*].message}")
		return fmt.Errorf("%w\n%s", err, why)
	}
	return nil
}

func (c *Cluster) buildKEDA(ctx context.Context, source string) error {
	for _, image := range []struct{ ref, pkg, binary string }{
		{kedaImage, "./cmd/operator", "keda"},
		{kedaAdapterImage, "./cmd/adapter", "keda-adapter"},
	} {
		// Built inside KEDA's own module, because its go.mod has a replace that only counts there.
		path, err := c.env.artifact("build "+image.binary+" from Go modules", image.binary, []string{kedaVersion, c.env.goVersion}, func(path string) error {
			_, err := run(ctx, command{
				name: "go", env: []string{"CGO_ENABLED=0", "GOFLAGS="},
				args: []string{
					"build", "-C", source, "-mod=readonly", "-trimpath", quick,
					"-ldflags", "-s -w -X github.com/kedacore/keda/v2/version.Version=" + kedaVersion, "-o", path, image.pkg,
				},
			})
			return err
		})
		if err != nil {
			return err
		}
		layout := imageLayout{files: map[string]string{"/" + image.binary: path}, entrypoint: "/" + image.binary, user: "65532:65532"}
		if err := c.env.ensureImage(ctx, image.ref, layout); err != nil {
			return err
		}
		if err := c.Load(ctx, image.ref); err != nil {
			return err
		}
	}
	return nil
}
