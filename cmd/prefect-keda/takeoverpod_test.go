package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/install"
)

// grownAgent is an agent of years: a company's CA, keys for templates in two clouds,
// nodes of its own, a mesh, and what nobody remembers.
const grownAgent = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ServiceAccount
  metadata:
    name: agent
    namespace: prefect
    annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/templates", note: x}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: prefect-agent, namespace: prefect}
  spec:
    template:
      metadata:
        labels: {app: prefect-agent, team: data}
        annotations: {linkerd.io/inject: disabled, iam.amazonaws.com/role: templates, checksum/config: abc, kubectl.kubernetes.io/restartedAt: now}
      spec:
        serviceAccountName: agent
        serviceAccount: agent
        imagePullSecrets: [{name: mirror}]
        dnsPolicy: ClusterFirst
        restartPolicy: Always
        schedulerName: default-scheduler
        securityContext: {}
        hostNetwork: true
        nodeSelector: {pool: agents}
        tolerations: [{key: agents, operator: Exists}]
        hostAliases: [{ip: 10.0.0.1, hostnames: [prefect.corp]}]
        initContainers: [{name: fetch, image: x}]
        containers:
        - name: proxy
          image: x
        - name: agent
          image: prefecthq/prefect:1.4.1
          command: [prefect, agent, kubernetes, start, --job-template, "s3://b/job.yaml"]
          resources: {requests: {memory: 1Gi}}
          securityContext: {runAsUser: 0}
          livenessProbe: {exec: {command: ["true"]}}
          env:
          - {name: PREFECT__BACKEND, value: server}
          - {name: PREFECT__CLOUD__API, value: "https://prefect.corp"}
          - {name: NAMESPACE, value: prefect}
          - {name: REQUESTS_CA_BUNDLE, value: /ca/corp/ca.pem}
          - {name: CURL_CA_BUNDLE, value: /elsewhere.pem}
          - {name: SSL_CERT_FILE, value: /usr/lib/python/cacert.pem}
          - {name: GOOGLE_APPLICATION_CREDENTIALS, value: /keys/google.json}
          - {name: AWS_CONFIG_FILE, value: /opt/aws.ini}
          volumeMounts:
          - {name: ca, mountPath: /ca}
          - {name: corp, mountPath: /ca/corp/, readOnly: true}
          - {name: keys, mountPath: /keys}
          - {name: aws, mountPath: /root/.aws/credentials, subPath: credentials}
          - {name: scratch, mountPath: /scratch}
          - {name: notes, mountPath: /notes}
        volumes:
        - {name: ca, secret: {secretName: outer}}
        - {name: corp, configMap: {name: corp-ca}}
        - {name: keys, projected: {defaultMode: 256, sources: [{secret: {name: google}}, {configMap: {name: more}}]}}
        - {name: aws, secret: {secretName: aws}}
        - {name: scratch, emptyDir: {}}
        - {name: notes, configMap: {name: notes}}
`

// TestInstallFromGrownAgent: what a launcher needs of the pod comes along, CAs and names
// of hosts to the scaler as well; the rest is named.
func TestInstallFromGrownAgent(t *testing.T) {
	got := command(t.Context(), nil, grownAgent, "install", "--from-agent", "-")
	home := install.Namespace
	needed := func(variable, what string) string {
		return variable + " is read from there, mounted as in the agent, so it has to be in " + home + ": " + copied("prefect", what, home)
	}
	want := []string{
		needed("REQUESTS_CA_BUNDLE", "configmap corp-ca"),
		"not settings of the agent or of ours, so both processes get them as they are: GOOGLE_APPLICATION_CREDENTIALS, AWS_CONFIG_FILE",
		needed("GOOGLE_APPLICATION_CREDENTIALS", "secret google"),
		needed("GOOGLE_APPLICATION_CREDENTIALS", "configmap more"),
		"the volume keys has the mode 0400, and our pods do not run as root: give it 0444 (defaultMode), or they cannot read it",
		"AWS_CONFIG_FILE=/opt/aws.ini is a file of the agent's image that ours does not have: mount it there",
		needed("AWS_SHARED_CREDENTIALS_FILE", "secret aws"),
		"the launcher also gets the cloud role of the agent's service account agent (eks.amazonaws.com/role-arn): let the role trust the service account prefect-keda-launcher of " + home,
		"not taken over: the volume ca at /ca: no setting names a file in it",
		"not taken over: the volume scratch at /scratch: its content belongs to the agent's pod or node; if a launcher needs it, put it into a ConfigMap or Secret",
		"not taken over: the volume notes at /notes: no setting names a file in it",
		"not taken over: imagePullSecrets (mirror), which are for the agent's image: if ours comes from that registry too, give --image-pull-secrets; the flows' pods get them as well",
		"not taken over: the containers beside the agent: fetch, proxy",
		"not taken over: the agent's resources: a launcher needs less memory and sets its own",
		"not taken over: of the agent's pod: container's securityContext, hostNetwork",
		"not taken over: the pod's labels team: if a NetworkPolicy or a Service selects by them, let it select ours too",
	}
	if d := cmp.Diff(want, strings.Split(strings.TrimPrefix(strings.ReplaceAll(strings.TrimSpace(got.Err), "\nprefect-keda: ", "\n"), "prefect-keda: "), "\n")); d != "" || got.Code != exitOK {
		t.Errorf("exit code %d, -want +got:\n%s", got.Code, d)
	}

	type pod struct {
		Mounts, Volumes, Env   []string
		Annotations            map[string]string
		NodeSelector           map[string]string
		Tolerations, Aliases   int
		DNSPolicy, HostNetwork bool
	}
	pods := map[string]pod{}
	account := map[string]string{}
	for document := range strings.SplitSeq(got.Out, "---\n") {
		var d appsv1.Deployment
		if strings.Contains(document, "\nkind: ServiceAccount\n") && strings.Contains(document, "name: prefect-keda-launcher\n") {
			var a corev1.ServiceAccount
			if err := yaml.UnmarshalStrict([]byte(document), &a); err != nil {
				t.Error(err)
			}
			account = a.Annotations
		}
		if !strings.Contains(document, "\nkind: Deployment\n") {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(document), &d); err != nil {
			t.Error(err)
			continue
		}
		spec := d.Spec.Template.Spec
		p := pod{
			Annotations: d.Spec.Template.Annotations, NodeSelector: spec.NodeSelector, Tolerations: len(spec.Tolerations), Aliases: len(spec.HostAliases),
			DNSPolicy: spec.DNSPolicy != "", HostNetwork: spec.HostNetwork,
		}
		for _, m := range spec.Containers[0].VolumeMounts {
			p.Mounts = append(p.Mounts, m.Name+" "+m.MountPath)
		}
		for _, v := range spec.Volumes {
			p.Volumes = append(p.Volumes, v.Name)
		}
		for _, e := range spec.Containers[0].Env {
			if strings.HasPrefix(e.Value, "/") {
				p.Env = append(p.Env, e.Name+"="+e.Value)
			}
		}
		pods[spec.Containers[0].Name] = p
	}
	env := []string{
		"GOOGLE_APPLICATION_CREDENTIALS=/keys/google.json", "AWS_CONFIG_FILE=/opt/aws.ini",
		"SSL_CERT_FILE=/ca/corp/ca.pem", "AWS_SHARED_CREDENTIALS_FILE=/root/.aws/credentials",
	}
	agents := map[string]string{"pool": "agents"}
	wantPods := map[string]pod{
		"launcher": {
			[]string{"corp /ca/corp/", "keys /keys", "aws /root/.aws/credentials"},
			[]string{"corp", "keys", "aws"},
			env,
			map[string]string{"linkerd.io/inject": "disabled", "iam.amazonaws.com/role": "templates"},
			agents, 1, 1, false, false,
		},
		"scaler": {[]string{"corp /ca/corp/"}, []string{"corp"}, env, map[string]string{"linkerd.io/inject": "disabled"}, agents, 1, 1, false, false},
	}
	if d := cmp.Diff(wantPods, pods); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/templates"}, account); d != "" {
		t.Errorf("the service account: -want +got:\n%s", d)
	}
}

// A bundle that is a directory is one to Go too; one of the agent's image is told.
func TestInstallFromAgentAuthorities(t *testing.T) {
	agent := func(path, mount string) string {
		return "kind: Deployment\nmetadata: {namespace: prefect}\nspec: {template: {spec: {containers: [{args: [prefect agent kubernetes start], env: [{name: PREFECT__BACKEND, value: server}, {name: PREFECT__CLOUD__API, value: \"https://h\"}, {name: CURL_CA_BUNDLE, value: " +
			path + "}], volumeMounts: [{name: ca, mountPath: /ca" + mount + "}]}], volumes: [{name: ca, secret: {secretName: ca}}]}}}\n"
	}
	for _, tc := range []struct{ path, mount, env, err string }{
		{"/ca", "", "name: SSL_CERT_DIR\n              value: /ca\n", "CURL_CA_BUNDLE is read from there, mounted as in the agent, so it has to be in"},
		{"/ca", ", subPath: x", "name: SSL_CERT_FILE\n              value: /ca\n", "CURL_CA_BUNDLE is read from there"},
		{"/ca/x", "", "name: SSL_CERT_FILE\n              value: /ca/x\n", "CURL_CA_BUNDLE is read from there"},
		{"/etc/ca.pem", "", "", "not taken over: CURL_CA_BUNDLE=/etc/ca.pem, a file of the agent's image that ours does not have: if a CA of yours"},
	} {
		got := command(t.Context(), nil, agent(tc.path, tc.mount), "install", "--from-agent", "-")
		env := 2
		if tc.env == "" {
			env = 0
		}
		if got.Code != exitOK || !strings.Contains(got.Err, tc.err) || strings.Count(got.Out, "SSL_CERT") != env*3/2 || strings.Contains(got.Out, "name: CURL_CA_BUNDLE") {
			t.Errorf("%+v: %s\n%s", tc, got.Err, got.Out)
		}
	}
}
