module github.com/prefect-keda/prefect-keda/e2e/cluster/modules/keda

go 1.26.0
