// Package aws makes RDS authentication tokens: with a role that is assumed
// across accounts for each connection, or once with an access key that a DBA
// gives for the registration. Tokens and assumed credentials are kept nowhere.
//
// It is tested against a local stand-in that verifies signatures and ends of
// validity; it was not run against AWS.
package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"portcullis.dev/portcullis/connection"
)

// Code of every connection.Error that this package makes.
const Code = "aws_credentials"

// AccessKey of a DBA, used for the registration only.
type AccessKey struct {
	ID, Secret   string
	SessionToken string // of temporary credentials
}

// Tokens makes tokens as the identity that the service itself has at AWS.
type Tokens struct {
	// Identity is that of the service; nil: as AWS's own programs find it
	// (environment, web identity, container, instance).
	Identity aws.CredentialsProvider
	// SessionName stands in CloudTrail of the account that the role is in;
	// default "portcullis".
	SessionName string
}

// lifetime of the assumed credentials, which sign one token: AWS's least.
const lifetime = 900 // seconds

// Token assumes the role and signs a token for one connection; it is valid for
// 15 minutes, for this host, port and user only. The host must be the one that
// AWS gave the instance: the signature holds it.
func (t *Tokens) Token(ctx context.Context, role connection.AWSRole, host string, port int, user string) (string, error) {
	if err := Check(role); err != nil {
		return "", err
	}
	assumed, err := t.assume(ctx, role)
	if err != nil {
		return "", explain(err, "the role "+role.ARN+" cannot be assumed",
			"Check its trust policy: it must name the service's identity and the external id; and that the service has an identity at AWS.")
	}
	return sign(ctx, assumed, role.Region, host, port, user)
}

func (t *Tokens) assume(ctx context.Context, role connection.AWSRole) (aws.CredentialsProvider, error) {
	load := []func(*config.LoadOptions) error{config.WithRegion(role.Region)}
	if t.Identity != nil {
		load = append(load, config.WithCredentialsProvider(t.Identity))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, err
	}
	client := sts.NewFromConfig(cfg, func(o *sts.Options) {
		if role.STSEndpoint != "" {
			o.BaseEndpoint = aws.String(role.STSEndpoint)
		}
	})
	name := t.SessionName
	if name == "" {
		name = "portcullis"
	}
	out, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(role.ARN), RoleSessionName: aws.String(name),
		ExternalId: aws.String(role.ExternalID), DurationSeconds: aws.Int32(lifetime)})
	if err != nil {
		return nil, err
	}
	c := out.Credentials
	if c == nil {
		return nil, errors.New("STS answered without credentials")
	}
	return credentials.NewStaticCredentialsProvider(aws.ToString(c.AccessKeyId), aws.ToString(c.SecretAccessKey), aws.ToString(c.SessionToken)), nil
}

// TokenOf signs a token with an access key, for the registration.
func TokenOf(ctx context.Context, key AccessKey, region, host string, port int, user string) (string, error) {
	if key.ID == "" || key.Secret == "" || !regionForm.MatchString(region) {
		return "", &connection.Error{Code: Code, Message: "an access key needs its id, its secret and a region",
			Hint: "The region is the one of the instance, as in eu-central-1."}
	}
	return sign(ctx, credentials.NewStaticCredentialsProvider(key.ID, key.Secret, key.SessionToken), region, host, port, user)
}

func sign(ctx context.Context, as aws.CredentialsProvider, region, host string, port int, user string) (string, error) {
	token, err := auth.BuildAuthToken(ctx, net.JoinHostPort(host, strconv.Itoa(port)), region, user, as)
	if err != nil {
		return "", explain(err, "no token could be signed for "+host, "Check host, region and user name.")
	}
	return token, nil
}

var (
	regionForm = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)
	roleForm   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
)

// Check refuses a role that cannot be one, or could be used in somebody else's
// name: without an external id whoever registers a connection could have the
// service assume any role that trusts it.
func Check(role connection.AWSRole) error {
	refuse := func(format string, args ...any) error {
		return &connection.Error{Code: Code, Message: fmt.Sprintf(format, args...), Hint: "Give region, role_arn and external_id of the role that the service assumes."}
	}
	switch {
	case !regionForm.MatchString(role.Region):
		return refuse("%q is no AWS region", role.Region)
	case !roleForm.MatchString(role.ARN):
		return refuse("%q is no ARN of an IAM role", role.ARN)
	case role.ExternalID == "":
		return refuse("the role %s needs an external id", role.ARN)
	case role.STSEndpoint != "" && !safe(role.STSEndpoint):
		return &connection.Error{Code: Code, Message: "the STS endpoint must be an https URL, or one of this machine by its address", Hint: "As in https://sts.eu-central-1.amazonaws.com; without one AWS's own of the region is asked."}
	}
	return nil
}

// safe reports whether an endpoint is https, or on this machine.
func safe(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && err == nil && addr.IsLoopback()
}

// explain keeps AWS's code and message and leaves out what it was asked with.
func explain(err error, message, hint string) error {
	e := &connection.Error{Code: Code, Message: message, Hint: hint, Err: err}
	var api smithy.APIError
	var send *net.OpError
	switch {
	case errors.As(err, &api):
		e.Detail = api.ErrorCode() + ": " + api.ErrorMessage()
	case errors.As(err, &send):
		e.Detail = "AWS cannot be reached: " + send.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		e.Detail = "AWS did not answer in time"
	default:
		e.Detail = innermost(err).Error()
	}
	return e
}

// innermost is the cause, without the steps of the SDK that lead to it.
func innermost(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// String keeps the secret out of logs and errors.
func (k AccessKey) String() string { return "access key " + k.ID }

// GoString does so for %#v.
func (k AccessKey) GoString() string { return k.String() }
