package kedaversions

import (
	"strconv"
	"strings"
)

// Version is a version of KEDA, and what users notice of its client.
type Version struct {
	Number string
	// FollowsTLS says whether changed certificates of a trigger get a new connection. Where
	// they do not, the operator goes on with the first ones until it is restarted.
	FollowsTLS bool
	// Kubernetes are the oldest and newest version with which KEDA itself tests.
	Kubernetes [2]string
	// Types is the version of Kubernetes whose types KEDA is built with.
	Types string
}

// Versions are those that we support: the newest patch of each minor version, the oldest
// first. The newest is the one in go.mod and in the kind cluster.
func Versions() []Version {
	return []Version{
		{Number: "2.17.3", Kubernetes: [2]string{"1.30", "1.32"}, Types: "1.31"},
		{Number: "2.18.3", Kubernetes: [2]string{"1.31", "1.33"}, Types: "1.33"},
		{Number: "2.19.0", Kubernetes: [2]string{"1.32", "1.34"}, Types: "1.34"},
		{Number: "2.20.2", Kubernetes: [2]string{"1.33", "1.35"}, Types: "1.35", FollowsTLS: true},
		{Number: "2.21.0", Kubernetes: [2]string{"1.34", "1.36"}, Types: "1.36", FollowsTLS: true},
	}
}

// Minor is the version without its patch.
func (v Version) Minor() string { return v.Number[:strings.LastIndexByte(v.Number, '.')] }

// pick returns the versions that words name by number or minor version; all without words.
func pick(all []Version, words []string) (picked []Version, unknown []string) {
	if len(words) == 0 {
		return all, nil
	}
	for _, word := range words {
		n := len(picked)
		for _, v := range all {
			if word == v.Number || word == v.Minor() {
				picked = append(picked, v)
			}
		}
		if len(picked) == n {
			unknown = append(unknown, strconv.Quote(word))
		}
	}
	return picked, unknown
}
