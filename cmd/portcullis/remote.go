package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"portcullis.dev/portcullis/service"
)

// remote holds the flags of commands that call a service.
type remote struct {
	url, keyFile, caFile, output string
}

func (r *remote) flags(f *flag.FlagSet) {
	f.StringVar(&r.url, "url", env("PORTCULLIS_URL", "http://127.0.0.1:8080"), "`URL` of the service (PORTCULLIS_URL)")
	f.StringVar(&r.keyFile, "api-key-file", env("PORTCULLIS_API_KEY_FILE", ""), "`file` with the API key (PORTCULLIS_API_KEY_FILE, or the key itself in PORTCULLIS_API_KEY)")
	f.StringVar(&r.caFile, "ca-file", env("PORTCULLIS_CA_FILE", ""), "CA `file` of the service (default: the system's; PORTCULLIS_CA_FILE)")
	r.output = "text"
	f.Func("o", "`format` of the output: text (default) or json", func(v string) error {
		if v != "text" && v != "json" {
			return errors.New("must be text or json")
		}
		r.output = v
		return nil
	})
}

func (r *remote) json() bool { return r.output == "json" }

func (r *remote) client() (*service.Client, error) { return r.clientBy(service.NewClient) }

// patientClient waits for answers that take an instance's time, or that of many changes.
func (r *remote) patientClient() (*service.Client, error) {
	return r.clientBy(service.NewPatientClient)
}

func (r *remote) clientBy(make func(address, apiKey, caFile string) (*service.Client, error)) (*service.Client, error) {
	key := os.Getenv("PORTCULLIS_API_KEY")
	if r.keyFile != "" {
		raw, err := os.ReadFile(r.keyFile)
		if err != nil {
			return nil, fmt.Errorf("API key: %w", err)
		}
		key = strings.TrimSpace(string(raw))
	}
	if key == "" {
		return nil, fmt.Errorf("an API key is needed: set --api-key-file or PORTCULLIS_API_KEY")
	}
	return make(r.url, key, r.caFile)
}

// printJSON writes v indented.
func printJSON(io streams, v any) error {
	enc := json.NewEncoder(io.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
