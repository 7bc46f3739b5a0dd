// Supply makes what a release holds beside its binaries, and all of it from nothing but
// them and the tree, so that everybody who builds the tag gets the same bytes:
//
//	go run . image -version v1.2.3 -to DIR BINARY...   the image for each binary's processor, as an OCI layout
//	go run . licenses -to FILE                         the license texts of all that is linked
//	go run . sbom -version v1.2.3 -to FILE BINARY      the modules in a binary, as CycloneDX
//
// It is a module of its own, so that what it needs stays out of the product's. It must not
// know tags, registries and GitHub: hack/release.sh does.
package main
