// Package product builds the product's images, renders its manifests, and reaches the
// stand-in Prefect API inside the cluster. It must not know the tests or the demo.
package product
