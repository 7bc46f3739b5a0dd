package main

import (
	"log/slog"
	"os"

	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/notice"
	"github.com/prefect-keda/prefect-keda/scaler"
)

var _ scaler.Operator = (*notice.Notices)(nil)

// newNotices makes no request.
func newNotices(log *slog.Logger, client *kube.Client, process string) *notice.Notices {
	pod, err := os.Hostname()
	if err != nil {
		pod = ""
	}
	return notice.New(notice.Options{
		Cluster: client, Events: func(namespace string) notice.Events { return client.Events(namespace) },
		Process: "prefect-keda-" + process, Pod: pod, Logger: log,
	})
}

// onOwnPod tells on what keeps this pod, if it is one.
func onOwnPod(n *notice.Notices) func(reason, message string) {
	namespace := kube.PodNamespace()
	return func(reason, message string) {
		if namespace != "" && n.Pod != "" {
			n.WarnOwner(namespace, n.Pod, reason, message)
		}
	}
}
