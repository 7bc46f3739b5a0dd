//go:build !race

package launcher

const raced = false
