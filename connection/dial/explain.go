package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// Explain turns what pgx says into what a person can act on.
func Explain(err error, t connection.Target) *connection.Error {
	var own *connection.Error
	if errors.As(err, &own) {
		return own
	}
	var remote *pgconn.PgError
	if errors.As(err, &remote) {
		return explainRemote(remote, t)
	}
	e := explainTLS(err, t)
	if e == nil {
		e = explainNetwork(err, t)
	}
	e.Err = err
	return e
}

func where(t connection.Target) string {
	if isSocket(t.Host) {
		return fmt.Sprintf("the socket in %s (port %d)", t.Host, t.Port)
	}
	return fmt.Sprintf("%s port %d", t.Host, t.Port)
}

func explainNetwork(err error, t connection.Target) *connection.Error {
	var dns *net.DNSError
	var timeout net.Error
	at := where(t)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return &connection.Error{Code: CodeUnknownHost, Message: "the host name " + t.Host + " does not resolve",
			Hint: "Check its spelling, and that the service's name server knows it."}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &connection.Error{Code: CodeRefused, Message: "nothing listens at " + at,
			Hint: "Check the port, listen_addresses of the instance, and that it runs."}
	case errors.Is(err, os.ErrNotExist):
		return &connection.Error{Code: CodeRefused, Message: "there is no server at " + at,
			Hint: "Check unix_socket_directories and the port of the instance."}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &connection.Error{Code: CodeTimeout, Message: at + " does not answer in time",
			Hint: "A firewall or security group that drops packets looks like this."}
	case errors.As(err, &dns):
		return &connection.Error{Code: CodeUnknownHost, Message: "the host name " + t.Host + " cannot be looked up",
			Detail: dns.Err, Hint: "The service's name server does not answer; it is tried again."}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &connection.Error{Code: CodeUnreachable, Message: at + " closed the connection without a word",
			Hint: "Check that it is PostgreSQL, and its log; a proxy in front of a stopped instance does so too."}
	case strings.Contains(err.Error(), "unexpected message"), strings.Contains(err.Error(), "invalid"), strings.Contains(err.Error(), "unknown message"):
		return &connection.Error{Code: CodeNotPostgres, Message: at + " does not speak PostgreSQL's protocol", Hint: "Check host and port."}
	}
	return &connection.Error{Code: CodeUnreachable, Message: at + " cannot be reached", Detail: inner(err),
		Hint: "Check the network between the service and the instance."}
}

// inner is the text of the last error, without what pgx tells around it.
func inner(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

func explainTLS(err error, t connection.Target) *connection.Error {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		header    tls.RecordHeaderError
		alert     tls.AlertError
		verify    *tls.CertificateVerificationError
	)
	at := where(t)
	switch {
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return &connection.Error{Code: CodeNoTLS, Message: at + " has no TLS",
			Hint: "Set ssl = on with a certificate for " + t.Host + "; only loopback and Unix sockets are reached without TLS. Something else than PostgreSQL at this port looks like this, too."}
	case errors.As(err, &authority):
		return &connection.Error{Code: CodeUnknownCA, Message: "the certificate of " + at + " is not signed by an authority that is trusted here",
			Hint: "Give the PEM of the authority with the connection."}
	case errors.As(err, &name):
		return &connection.Error{Code: CodeWrongName, Message: "the certificate of " + at + " is another host's", Detail: name.Error(),
			Hint: "Register the connection under a name that its certificate holds."}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &connection.Error{Code: CodeExpired, Message: "the certificate of " + at + " is not valid now", Detail: invalid.Detail,
			Hint: "Renew it, or correct the clock of the service."}
	case errors.As(err, &verify), errors.As(err, &header), errors.As(err, &alert), errors.As(err, &invalid):
		return &connection.Error{Code: CodeTLS, Message: "no TLS with " + at, Detail: inner(err),
			Hint: "Check the server's certificate and that it speaks TLS 1.2 or later."}
	}
	return nil
}
