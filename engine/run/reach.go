package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"portcullis.dev/portcullis/engine/guard"
	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// connect connects to the first address of the source that the node's guard
// admits and that answers. The driver is held to that address: a name that
// stands for another one a moment later leads it nowhere else. isLate is
// called when a driver takes longer than it may.
func (e *Engine) connect(source *Source, how *fdw.Connection, spec odbc.ConnSpec, isLate func()) (*odbc.Conn, error) {
	ways, err := e.ways(source, how, spec)
	if err != nil {
		return nil, err
	}
	var conn *odbc.Conn
	for _, attrs := range ways {
		spec.Attrs = spec.Attrs[:0]
		for _, attr := range attrs {
			spec.Attrs = append(spec.Attrs, odbc.Attr{Name: attr.Name, Value: attr.Value})
		}
		late := time.AfterFunc(spec.LoginTimeout+connectGrace, isLate)
		conn, err = odbc.Connect(e.ctx, spec)
		late.Stop()
		if err == nil {
			return conn, nil
		}
		var remote *odbc.Error
		if !errors.As(err, &remote) {
			break
		}
		if c := causeOf(remote); c != causeRefused && c != causeTimeout {
			break
		}
	}
	return nil, connectError(source, how.Driver, err)
}

// ways are the attributes to connect with, one set for each address.
func (e *Engine) ways(source *Source, how *fdw.Connection, spec odbc.ConnSpec) ([][]fdw.Attr, error) {
	if how.Host == "" {
		return [][]fdw.Attr{how.Attrs}, nil
	}
	if e.unguarded != nil {
		return nil, &Error{
			State:   "F0000", // config_file_error
			Message: fmt.Sprintf("could not connect to server \"%s\": portcullis.allowed_hosts cannot be read", source.ServerName),
			Detail:  e.unguarded.Error(),
			Hint:    "An administrator corrects the setting; new sessions take it.",
		}
	}
	ctx, cancel := context.WithTimeout(e.ctx, spec.LoginTimeout)
	defer cancel()
	addresses, err := e.reach.Admit(ctx, how.Host, how.Port, how.HoldTo == nil)
	if err != nil {
		return nil, notReached(source, err)
	}
	if how.HoldTo == nil {
		return [][]fdw.Attr{how.Attrs}, nil
	}
	var ways [][]fdw.Attr
	for _, address := range addresses {
		ways = append(ways, how.HoldTo(address))
	}
	return ways, nil
}

func notReached(source *Source, err error) error {
	message := fmt.Sprintf("could not connect to server \"%s\": ", source.ServerName)
	var refusal *guard.Refusal
	if errors.As(err, &refusal) {
		return &Error{
			State:   stateDenied,
			Message: message + "its address is not allowed",
			Detail:  fmt.Sprintf("Address %v.", refusal),
			Hint:    "An administrator adds the host to portcullis.allowed_hosts.",
		}
	}
	return &Error{State: stateConnect, Message: message + "its host name is not known", Detail: err.Error(), Hint: "Check the option host of the server."}
}
