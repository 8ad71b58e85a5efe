package dial

import (
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/testenv"
)

func TestTLS(t *testing.T) {
	p, target := instance(t, testenv.ServerOptions{TLS: true, HBA: "hostnossl all gate all reject"})
	other, err := testenv.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	probe := func(change func(*Dialer, *connection.Target)) error {
		target, d := target, dialer()
		change(d, &target)
		_, err := d.Probe(t.Context(), target)
		return err
	}
	bundle := func(pem string) Bundles {
		return func(connection.Provider) (string, error) { return pem, nil }
	}
	if err := probe(func(*Dialer, *connection.Target) {}); err != nil {
		t.Errorf("with the right authority: %v", err)
	}
	if err := probe(func(d *Dialer, t *connection.Target) { d.Bundles, t.CA, t.Provider = bundle(t.CA), "", "rds" }); err != nil {
		t.Errorf("with the provider's bundle: %v", err)
	}
	tests := map[string]struct {
		change func(*Dialer, *connection.Target)
		code   string
	}{
		"another authority":                  {func(_ *Dialer, t *connection.Target) { t.CA = string(other.PEM) }, CodeUnknownCA},
		"the system's authorities":           {func(_ *Dialer, t *connection.Target) { t.CA = "" }, CodeUnknownCA},
		"the given one counts, not a bundle": {func(d *Dialer, t *connection.Target) { d.Bundles, t.CA = bundle(t.CA), string(other.PEM) }, CodeUnknownCA},
		"no PEM":                             {func(_ *Dialer, t *connection.Target) { t.CA = "nonsense" }, CodeCA},
		"RDS without a bundle":               {func(_ *Dialer, t *connection.Target) { t.CA, t.Provider = "", connection.ProviderRDS }, CodeCA},
		"Aurora without a bundle":            {func(d *Dialer, t *connection.Target) { d.Bundles, t.CA, t.Provider = bundle(""), "", "aurora" }, CodeCA},
		"Crunchy without a certificate":      {func(_ *Dialer, t *connection.Target) { t.CA, t.Provider = "", connection.ProviderCrunchy }, CodeCA},
		"TLS off where the server wants it":  {func(_ *Dialer, t *connection.Target) { t.TLS = connection.TLSDisable }, CodeHBA},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) { wantCode(t, probe(tc.change), tc.code) })
	}
	t.Run("the name of another host", func(t *testing.T) {
		authority, err := testenv.NewAuthority()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.SetCertificate(authority, "db.example.com"); err != nil {
			t.Fatal(err)
		}
		if err := p.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCode(t, probe(func(_ *Dialer, t *connection.Target) { t.CA = string(authority.PEM) }), CodeWrongName)
	})
}

func TestServerWithoutTLS(t *testing.T) {
	_, target := instance(t, testenv.ServerOptions{})
	target.TLS = connection.TLSVerifyFull
	_, err := dialer().Probe(t.Context(), target)
	wantCode(t, err, CodeNoTLS)
}

func TestExpiredCertificate(t *testing.T) {
	p, target := instance(t, testenv.ServerOptions{TLS: true})
	authority, err := testenv.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetExpiredCertificate(authority, "localhost"); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	target.CA = string(authority.PEM)
	_, err = dialer().Probe(t.Context(), target)
	wantCode(t, err, CodeExpired)
}
