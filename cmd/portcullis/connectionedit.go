package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/service"
)

// connectionSet changes what the flags name and nothing else.
func connectionSet(ctx context.Context, i *invocation) error {
	var r registration
	r.define(i.flags)
	wait := i.flags.Bool("wait", true, "wait until the instance was crawled and brought in line")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	at := path("connections", i.args[0])
	var v service.Connection
	if err := c.Call(ctx, http.MethodGet, at, nil, &v); err != nil {
		return err
	}
	if v, err = r.over(i.flags, v, i.io); err != nil {
		return err
	}
	var done service.Replaced
	if err := c.Call(ctx, http.MethodPut, at, v, &done); err != nil {
		return err
	}
	if i.remote.json() {
		if err := printJSON(i.io, done); err != nil {
			return err
		}
	} else {
		describeSet(i.io, v.Name, done)
	}
	if !*wait || done.Action == "" && len(done.Statements) == 0 {
		return nil
	}
	var asked service.SyncReply
	if err := c.Call(ctx, http.MethodPost, path("connections", v.Name, "sync"), struct{}{}, &asked); err != nil {
		return err
	}
	return i.waitSync(ctx, c, v.Name, asked.Wanted)
}

func describeSet(io streams, name string, done service.Replaced) {
	switch {
	case done.Action != "":
		fmt.Fprintf(io.out, "changed %s\n", name)
	case len(done.Statements) > 0:
		fmt.Fprintf(io.out, "made %s ready again\n", name)
	default:
		fmt.Fprintf(io.out, "%s is as it was\n", name)
	}
	describeReached(io, name, done.Reached)
}

// over is a connection with what the flags that were given say.
func (r *registration) over(f *flag.FlagSet, v service.Connection, io streams) (service.Connection, error) {
	given, err := r.connection(v.Name, io)
	if err != nil {
		return v, err
	}
	v.Password, v.Setup = given.Password, given.Setup
	aws, byAttribute := connection.AWSRole{}, mapping.Automatic{}
	if v.AWS != nil {
		aws = *v.AWS
	}
	if v.Mapping != nil {
		byAttribute = *v.Mapping
	}
	take := map[string]func(){
		"provider":         func() { v.Provider = given.Provider },
		"host":             func() { v.Host = given.Host },
		"port":             func() { v.Port = given.Port },
		"database":         func() { v.Database = given.Database },
		"tls":              func() { v.TLS = given.TLS },
		"instance-ca-file": func() { v.CA = given.CA },
		"user":             func() { v.Username = given.Username },
		"mode":             func() { v.Mode = given.Mode },
		"prefix":           func() { v.Prefix = given.Prefix },
		"make-roles":       func() { v.MakeRoles = given.MakeRoles },
		"views":            func() { v.Views = given.Views },
		"row-security":     func() { v.RowSecurity = given.RowSecurity },
		"kinds":            func() { v.Kinds = given.Kinds },
		"sync-every":       func() { v.SyncEvery = given.SyncEvery },
		"tags":             func() { v.Tags = given.Tags },
		"map-by":           func() { byAttribute.Attribute = r.automatic.Attribute },
		"map-strip-suffix": func() { byAttribute.StripSuffix = r.automatic.StripSuffix },
		"map-template":     func() { byAttribute.Template = r.automatic.Template },
		"map-lower":        func() { byAttribute.Lower = r.automatic.Lower },
		"map-kind":         func() { byAttribute.Kind = r.automatic.Kind },
		"aws-region":       func() { aws.Region = r.aws.Region },
		"aws-role-arn":     func() { aws.ARN = r.aws.ARN },
		"aws-external-id":  func() { aws.ExternalID = r.aws.ExternalID },
		"aws-sts-endpoint": func() { aws.STSEndpoint = r.aws.STSEndpoint },
	}
	f.Visit(func(given *flag.Flag) {
		if set := take[given.Name]; set != nil {
			set()
		}
	})
	v.AWS, v.Mapping = nil, nil
	if aws.ARN != "" {
		v.AWS = &aws
	}
	if byAttribute.Attribute != "" {
		v.Mapping = &byAttribute
	}
	return v, nil
}
