package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"

	"portcullis.dev/portcullis/service"
)

// connectionRotate replaces the system account of a connection, or its password.
func connectionRotate(ctx context.Context, i *invocation) error {
	var r registration
	user := i.flags.String("user", "", "the new system `account` (default: the same, with another password)")
	i.flags.StringVar(&r.passwordFile, "password-file", "", "`file` with its password (or PORTCULLIS_CONNECTION_PASSWORD); made up if the setup makes the account")
	r.defineSetup(i.flags)
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	given, err := r.connection(i.args[0], i.io)
	if err != nil {
		return err
	}
	if given.Setup == nil && given.Password == nil {
		return usage(i.flags, i.io, "give --setup-user, or the password of an account that is ready")
	}
	at := path("connections", i.args[0])
	var v service.Connection
	if err := c.Call(ctx, http.MethodGet, at, nil, &v); err != nil {
		return err
	}
	same := *user == "" || *user == v.Username
	if given.Password == nil && same && v.AWS == nil {
		made := rand.Text()
		given.Password = &made
	}
	old := v.Username
	v.Password, v.Setup = given.Password, given.Setup
	if !same {
		v.Username = *user
	}
	var done service.Replaced
	if err := c.Call(ctx, http.MethodPut, at, v, &done); err != nil {
		return err
	}
	describeReached(i.io, v.Name, done.Reached)
	fmt.Fprintf(i.io.out, "%s: the system account is %s\n", v.Name, v.Username)
	if !same {
		fmt.Fprintf(i.io.out, "%s has nothing left here; a DBA may drop it.\n", old)
	}
	return nil
}

// connectionReplaced goes on with an instance that was upgraded or restored.
func connectionReplaced(ctx context.Context, i *invocation) error {
	var req service.InstanceRequest
	i.flags.StringVar(&req.SystemID, "system-id", "", "system `identifier` of the instance that is there now, as connection status tells it")
	i.flags.StringVar(&req.Host, "host", "", "`host` where it is (default: as before)")
	i.flags.IntVar(&req.Port, "port", 0, "its port (default: as before)")
	wait := i.flags.Bool("wait", true, "wait until it was crawled and brought in line")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	if req.SystemID == "" {
		return usage(i.flags, i.io, "--system-id is needed")
	}
	name := i.args[0]
	if err := c.Call(ctx, http.MethodPost, path("connections", name, "instance"), req, nil); err != nil || !*wait {
		return err
	}
	st, err := i.status(ctx, c, name)
	if err != nil {
		return err
	}
	return i.waitSync(ctx, c, name, st.SyncWanted)
}
