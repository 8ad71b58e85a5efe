package main

import (
	"fmt"
	"os"
	"strings"
)

// vars are the settings in .run/env, in order.
type vars []struct{ name, value string }

func (v *vars) set(name, value string) {
	*v = append(*v, struct{ name, value string }{name, value})
}

func (v vars) get(name string) string {
	for _, s := range v {
		if s.name == name {
			return s.value
		}
	}
	return ""
}

// direct names the PostgreSQL source in place of the engine.
func (v vars) direct() vars {
	var d vars
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE"} {
		d.set(name, v.get("SAMPLE_"+name))
	}
	return d
}

func (v vars) environ() []string {
	var list []string
	for _, s := range v {
		list = append(list, s.name+"="+s.value)
	}
	return list
}

// write makes a file that shells source: NAME='value' on each line.
func (v vars) write(path string) error {
	var b strings.Builder
	for _, s := range v {
		fmt.Fprintf(&b, "%s='%s'\n", s.name, strings.ReplaceAll(s.value, "'", `'\''`))
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

func readEnvFile(path string) (vars, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var v vars
	for line := range strings.Lines(string(b)) {
		name, quoted, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || len(quoted) < 2 {
			return nil, fmt.Errorf("%s: cannot read the line of %s", path, name)
		}
		v.set(name, strings.ReplaceAll(quoted[1:len(quoted)-1], `'\''`, "'"))
	}
	return v, nil
}
