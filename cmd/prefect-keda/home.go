package main

import (
	"cmp"
	"fmt"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
)

const homeVariable = "PREFECT_KEDA_NAMESPACE"

// home is where scaler and launchers are; pod is the namespace of ours, if we are in one.
func home(k config.Kubernetes, pod string) string {
	return cmp.Or(k.Home, pod, install.Namespace)
}

// misplaced is an error if a pod runs in another namespace than the manifests were made for:
// Roles, bindings and the scaler's address then belong to that other namespace.
func misplaced(k config.Kubernetes, pod string) error {
	if pod == "" || k.Home == "" || k.Home == pod {
		return nil
	}
	return misconfigured{config.Problem{Setting: settingName(homeVariable), Text: fmt.Sprintf(
		"is %s, but this pod runs in %s, so its Roles and the scaler's address are those of %s: "+
			"set it to %s in the ConfigMap; components/namespaces and install --install-namespace then place everything there, and kustomize's namespace: does not",
		k.Home, pod, k.Home, pod)}}
}
