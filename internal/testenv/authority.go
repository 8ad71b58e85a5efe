package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority is a certificate authority that lives as long as its test.
type Authority struct {
	PEM  []byte // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that nobody trusts by default.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert: cert, key: key}, err
}

// Certify makes a server's certificate and key for names and addresses, as PEM.
func (a *Authority) Certify(hosts ...string) (cert, key []byte, err error) {
	return a.certifyUntil(time.Now().Add(24*time.Hour), hosts...)
}

func (a *Authority) certifyUntil(end time.Time, hosts ...string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: end.Add(-25 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// addTLS gives the instance a certificate of an authority of its own.
func (p *Postgres) addTLS() error {
	authority, err := NewAuthority()
	if err != nil {
		return err
	}
	p.CA = filepath.Join(p.env.Dir, p.name+"-ca.pem")
	if err := os.WriteFile(p.CA, authority.PEM, 0o644); err != nil {
		return err
	}
	if err := p.SetCertificate(authority, "localhost", p.Host); err != nil {
		return err
	}
	return p.AppendConfig(map[string]string{"ssl": "on"})
}

// SetCertificate gives the instance another certificate; Restart applies it.
func (p *Postgres) SetCertificate(a *Authority, hosts ...string) error {
	return p.setCertificate(a, time.Now().Add(24*time.Hour), hosts...)
}

// SetExpiredCertificate gives the instance one that was valid until a moment
// ago; Restart applies it.
func (p *Postgres) SetExpiredCertificate(a *Authority, hosts ...string) error {
	return p.setCertificate(a, time.Now().Add(-time.Minute), hosts...)
}

func (p *Postgres) setCertificate(a *Authority, end time.Time, hosts ...string) error {
	cert, key, err := a.certifyUntil(end, hosts...)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"server.crt": cert, "server.key": key} {
		name = filepath.Join(p.DataDir, name)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return err
		}
		if err := p.as.own(name); err != nil {
			return err
		}
	}
	return nil
}
