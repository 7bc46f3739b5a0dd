package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// CacheDir is PREFECT_KEDA_CACHE, else prefect-keda in the user's cache folder.
func CacheDir() (string, error) {
	dir := os.Getenv("PREFECT_KEDA_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache folder (set PREFECT_KEDA_CACHE): %w", err)
		}
		dir = filepath.Join(user, "prefect-keda")
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// key is the hash of everything a thing is made from. Inputs are length-prefixed,
// so ("ab","c") and ("a","bc") differ.
func key(inputs ...string) string {
	h := sha256.New()
	for _, in := range inputs {
		fmt.Fprintf(h, "%d:", len(in))
		h.Write([]byte(in))
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// fileInputs reads files whose content decides a key.
func fileInputs(paths ...string) ([]string, error) {
	var inputs []string
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("read an input of the build: %w", err)
		}
		inputs = append(inputs, filepath.Base(p), string(b))
	}
	return inputs, nil
}

// artifact returns the cached file made from inputs, and makes it first if it is missing.
// make writes to the path it is given; only a complete file gets the final name, so an
// interrupted build leaves no file that looks complete.
func (e *env) artifact(what, name string, inputs []string, make func(path string) error) (string, error) {
	dir := filepath.Join(e.cache, "artifacts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+"-"+key(inputs...))
	if _, err := os.Stat(path); err == nil {
		e.say.cached()
		return path, nil
	}
	return path, e.say.step(what, func() error {
		part := path + ".part"
		defer os.Remove(part)
		if err := make(part); err != nil {
			return err
		}
		return os.Rename(part, path)
	})
}
