// Package product builds the images of what is under test or shown, renders the
// manifests it is installed with, and reaches the stand-in Prefect API inside
// the cluster. It must not know what is tested or shown.
package product
