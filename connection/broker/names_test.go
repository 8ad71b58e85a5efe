package broker

import (
	"errors"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// TestNamesThatNoScriptCanHold: the script refuses them itself, whoever asks for it.
func TestNamesThatNoScriptCanHold(t *testing.T) {
	long := strings.Repeat("ü", 32)
	tests := map[string]struct {
		change func(*Options)
		code   string
	}{
		"no account":                   {func(o *Options) { o.Target.Username = "" }, "invalid_account"},
		"ends the body of a function":  {func(o *Options) { o.Target.Username = "x$function$; DROP ROLE y; --" }, "invalid_account"},
		"ends the body of a DO":        {func(o *Options) { o.Target.Username = "x$do$" }, "invalid_account"},
		"makes a quote with what came": {func(o *Options) { o.Target.Username = "$" }, "invalid_account"},
		"account with a NUL":           {func(o *Options) { o.Target.Username = "a\x00b" }, "invalid_account"},
		"account with a line end":      {func(o *Options) { o.Target.Username = "a\nDROP" }, "invalid_account"},
		"account that is cut":          {func(o *Options) { o.Target.Username = long }, "invalid_account"},
		"account that is no text":      {func(o *Options) { o.Target.Username = "a\xff" }, "invalid_account"},
		"schema with a NUL":            {func(o *Options) { o.Schemas = []string{"fine", "a\x00b"} }, "invalid_schema"},
		"schema that is cut":           {func(o *Options) { o.Schemas = []string{long} }, "invalid_schema"},
		"prefix":                       {func(o *Options) { o.Target.Prefix = "x$_" }, "invalid_prefix"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for about, print := range map[string]func(Options) (string, error){"script": Script, "removal": Uninstall} {
				o := Options{Target: connection.Target{Username: `a "quoted" 'account\'`, Prefix: connection.DefaultPrefix}, Roles: true, Schemas: []string{"with $do$"}}
				if text, err := print(o); err != nil || strings.Contains(text, "{{") {
					t.Fatalf("%s: %v", about, err)
				}
				tc.change(&o)
				_, err := print(o)
				var e *connection.Error
				if !errors.As(err, &e) || e.Code != tc.code {
					t.Errorf("%s: want %s, got %v", about, tc.code, err)
				}
			}
		})
	}
}
