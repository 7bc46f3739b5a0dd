module github.com/prefect-keda/prefect-keda/e2e/cluster/modules/pause

go 1.24.0
