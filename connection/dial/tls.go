package dial

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"portcullis.dev/portcullis/connection"
)

// tlsConfig is nil for a Unix socket, and for loopback where TLS is disabled.
func (d *Dialer) tlsConfig(t connection.Target) (*tls.Config, error) {
	switch {
	case isSocket(t.Host):
		return nil, nil
	case t.TLS == connection.TLSDisable:
		return nil, nil // the address is looked at when it is dialled
	case t.TLS != connection.TLSVerifyFull && t.TLS != "":
		return nil, &connection.Error{Code: CodeInvalid, Message: fmt.Sprintf("TLS mode %q is not known", t.TLS),
			Hint: "It is verify-full, or disable on loopback and Unix sockets."}
	}
	roots, err := d.roots(t)
	if err != nil {
		return nil, err
	}
	return &tls.Config{ServerName: t.Host, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// roots are the target's own authorities, else the provider's, else (nil) the system's.
func (d *Dialer) roots(t connection.Target) (*x509.CertPool, error) {
	pem, whose := t.CA, "the CA given for the connection"
	if pem == "" && d.Bundles != nil {
		var err error
		if pem, err = d.Bundles(t.Provider); err != nil {
			return nil, &connection.Error{Code: CodeCA, Message: fmt.Sprintf("the CA bundle of provider %s cannot be read", t.Provider),
				Detail: err.Error(), Hint: "The operator of the service gives the file.", Err: err}
		}
		whose = fmt.Sprintf("the CA bundle of provider %s", t.Provider)
	}
	if pem == "" {
		return nil, needOwnCA(t.Provider)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, &connection.Error{Code: CodeCA, Message: whose + " holds no certificate",
			Hint: "Give the certificates of the authority in PEM (-----BEGIN CERTIFICATE-----)."}
	}
	return pool, nil
}

// needOwnCA refuses where no system trusts the provider's private authority.
func needOwnCA(p connection.Provider) error {
	switch p {
	case connection.ProviderRDS, connection.ProviderAurora:
		return &connection.Error{Code: CodeCA, Message: "the certificate authority of Amazon RDS is not known here",
			Hint: "Download AWS's bundle (global-bundle.pem, \"Using SSL/TLS to encrypt a connection to a DB instance\") and give it with the connection or to the service."}
	case connection.ProviderCrunchy:
		return &connection.Error{Code: CodeCA, Message: "the certificate authority of the Crunchy Data team is not known here",
			Hint: "Download the team's certificate from its settings and give it with the connection."}
	}
	return nil
}
