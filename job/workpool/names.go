package workpool

import (
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/job"
)

// LabelFlowRunID is the label by which every worker's observer knows Jobs of flow runs.
const LabelFlowRunID = "prefect.io/flow-run-id"

// Marks are the labels by which Jobs of work pools are known.
func Marks() job.Marks { return job.Marks{Run: LabelFlowRunID} }

// jobName is the name that people chose for Jobs, or the flow run's. It may have
// placeholders of its own, for the flow and the flow run.
func (r *rendering) jobName(given *value) (string, error) {
	name, ok := given.text()
	if !ok && !given.isNull() {
		return "", authorError("name, which is from %s, is %s: it must be a text", given.from, given.kind())
	}
	if name == "" {
		return r.inputs.run.Name, nil
	}
	if !strings.Contains(name, "{{") {
		return name, nil
	}
	ctx := newObject()
	for of, raw := range map[string][]byte{"flow": r.inputs.flowRow, "flow_run": r.inputs.flowRunRow} {
		row, err := decode(raw, "the "+of)
		if err != nil {
			return "", authorError("the row of the %s, to which the name %.100q refers, %v", of, name, err)
		}
		ctx.set(of, row)
	}
	all := newObject()
	all.set("ctx", &value{data: ctx})
	filled, err := filler{room: &r.room, find: func(name string, _ bool) (finding, error) {
		return finding{value: at(&value{data: all}, name)}, nil
	}}.text(given, name)
	if filled == nil || err != nil {
		return "", err
	}
	return str(filled), nil
}

// name gives the Job the name of the attempt. The template has only its prefix: the name is
// the lock (see package job). (The worker has Kubernetes generate it, and does not mend a
// name that Kubernetes refuses.)
func (r *rendering) name(j *batchv1.Job) {
	prefix, from := strings.TrimSuffix(j.GenerateName, "-"), r.from.Of("metadata.generateName")
	switch {
	case j.Name != "":
		prefix, from = j.Name, r.from.Of("metadata.name")
	case prefix == "", j.GenerateName == "None-", strings.Contains(prefix, "{{"):
		prefix, from = nameSlug(r.config.name), "the flow run's name"
	}
	if len(prefix) > maxName || len(validation.IsDNS1123Label(prefix)) > 0 {
		prefix = nameSlug(prefix)
	}
	if prefix == "" {
		prefix = job.DefaultPrefix
	}
	j.Name, j.GenerateName = prefix, ""
	Marks().Identify(j, r.run.ID, r.run.Attempt, nil, r.from)
	delete(r.from, "metadata.generateName")
	r.from["metadata.name"] = from + ", and the attempt at the flow run"
}

// label puts the labels and annotations of run, launcher and author on the Job, in a form
// that Kubernetes takes, and all that the Job has on its pod. It refuses what only we may
// set (prefect3 §3.6, §3.7).
func (r *rendering) label(j *batchv1.Job) error {
	given := newObject()
	for name, text := range r.baseLabels() {
		given.set(name, &value{data: text, from: "the flow run"})
	}
	given.with(r.config.labels)
	var labels []slugged
	for name, v := range given.all() {
		if l, ok := r.sluggedLabel(name, str(v), v.from); ok {
			labels = append(labels, l)
		}
	}
	const path, pod = "metadata.", "spec.template.metadata."
	meta, pods := &j.ObjectMeta, &j.Spec.Template.ObjectMeta
	meta.Labels = r.sluggedLabels(meta.Labels, given, labels, path)
	meta.Annotations = r.sluggedAnnotations(meta.Annotations, r.config.annotations, path)
	pods.Labels = r.sluggedLabels(pods.Labels, given, labels, pod)
	pods.Annotations = r.sluggedAnnotations(pods.Annotations, r.jobs(meta.Annotations, path+"annotations."), pod)
	if reserved := job.Reserved(j, true); len(reserved) > 0 {
		return authorError("%s makes a Job with what no flow run's Job may have: %s: leave it out", r.inputs.templateFrom, strings.Join(reserved, ", "))
	}
	return nil
}

// jobs are annotations of the Job, for its pod.
func (r *rendering) jobs(given map[string]string, path string) *object {
	all := newObject()
	for _, name := range slices.Sorted(maps.Keys(given)) {
		all.set(name, &value{data: given[name], from: r.from.Of(path + name)})
	}
	return all
}

// baseLabels are the worker's.
func (r *rendering) baseLabels() map[string]string {
	in := r.inputs
	labels := map[string]string{
		"prefect.io/flow-run-name":     in.run.Name,
		"prefect.io/version":           in.serverVersion,
		"prefect.io/work-pool-name":    in.poolIs.Name,
		"prefect.io/work-pool-id":      in.poolIs.ID,
		"prefect.io/worker-name":       r.settings.WorkerName,
		"prefect.io/flow-id":           in.flow.ID,
		"prefect.io/flow-name":         in.flow.Name,
		"app.kubernetes.io/managed-by": "prefect",
		"app.kubernetes.io/part-of":    "prefect",
		"app.kubernetes.io/version":    in.serverVersion,
		"app.kubernetes.io/name":       in.flow.Name,
	}
	if in.deployment.is {
		labels["prefect.io/deployment-id"] = in.deployment.ID
		labels["prefect.io/deployment-name"] = in.deployment.Name
		labels["prefect.io/deployment-updated"] = pythonTime(in.deployment.updated)
		labels["app.kubernetes.io/name"] = in.deployment.Name
	}
	maps.DeleteFunc(labels, func(_, text string) bool { return text == "" })
	return labels
}

// pythonTime is a time as Python's isoformat writes it in UTC.
func pythonTime(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	if t.Nanosecond()/1000 == 0 {
		return t.UTC().Format("2006-01-02T15:04:05-07:00")
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000-07:00")
}

// slugged is a label as Kubernetes takes it.
type slugged struct{ key, text, from string }

// sluggedLabel leaves out what Kubernetes cannot take: it would refuse the Job for a name
// that somebody gave a flow.
func (r *rendering) sluggedLabel(name, text, from string) (slugged, bool) {
	key, slug := keySlug(name), valueSlug(text)
	switch {
	case key == "" || !isQualified(key):
		r.warn("the label %.100q, which is from %s, cannot be a label in Kubernetes and is left out", name, from)
		return slugged{}, false
	case slug == "" && text != "":
		r.warn("%.100q of the label %s, which is from %s, cannot be a label's value in Kubernetes, so the label is left out", text, key, from)
		return slugged{}, false
	}
	return slugged{key, slug, from}, true
}

// sluggedLabels are those of the manifest, and over them those that are given.
func (r *rendering) sluggedLabels(literal map[string]string, given *object, labels []slugged, path string) map[string]string {
	var all []slugged
	for _, name := range slices.Sorted(maps.Keys(literal)) {
		if given.has(name) {
			continue
		}
		if l, ok := r.sluggedLabel(name, literal[name], r.from.Of(path+"labels."+name)); ok {
			all = append(all, l)
		}
	}
	texts := map[string]string{}
	for _, l := range append(all, labels...) {
		texts[l.key] = l.text
		r.from[path+"labels."+l.key] = l.from
	}
	return texts
}

// isQualified reports whether Kubernetes takes a key. Its own regular expressions take a fifth of
// what a whole Job costs, so they see only what does not look plain.
func isQualified(key string) bool {
	prefix, name, ok := strings.Cut(key, "/")
	if ok && isSlug(name, maxLabel, "_.") && isSlug(prefix, maxDomain, ".") &&
		prefix == strings.ToLower(prefix) && !strings.Contains(prefix, "..") && !strings.Contains(prefix, ".-") && !strings.Contains(prefix, "-.") {
		return true
	}
	return len(validation.IsQualifiedName(key)) == 0
}

func (r *rendering) sluggedAnnotations(literal map[string]string, more *object, path string) map[string]string {
	all := map[string]string{}
	set := func(name, text, from string) {
		key := keySlug(name)
		if key == "" || !isQualified(strings.ToLower(key)) {
			r.warn("the annotation %.100q, which is from %s, cannot be an annotation in Kubernetes and is left out", name, from)
			return
		}
		all[key] = text
		r.from[path+"annotations."+key] = from
	}
	for _, name := range slices.Sorted(maps.Keys(literal)) {
		set(name, literal[name], r.from.Of(path+"annotations."+name))
	}
	for name, v := range more.all() {
		set(name, str(v), v.from)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}
