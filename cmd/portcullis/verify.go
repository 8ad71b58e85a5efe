package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"

	"portcullis.dev/portcullis/service"
)

// errNotWhole says that verification found problems, which were written.
var errNotWhole = errors.New("the audit is not whole")

func runAuditVerify(ctx context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("audit verify", flag.ContinueOnError)
	var r remote
	r.flags(f)
	node := f.String("node", "", "only the records of this `node`")
	file := f.String("checkpoints", "", "compare with this checkpoint `file` (serve --checkpoint-file)")
	public := f.String("checkpoint-key", "", "the `key`, in base64, that must have signed the checkpoints (default: the first line's)")
	nodeKey := f.String("node-key-file", "", "also prove with the node's key `file` that the node wrote the records; needs --node")
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	if *nodeKey != "" && *node == "" {
		return usage(f, io, "--node-key-file needs --node: each node has a key of its own")
	}
	var key ed25519.PublicKey
	if *public != "" {
		raw, err := base64.StdEncoding.DecodeString(*public)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return usage(f, io, "--checkpoint-key is no Ed25519 key in base64")
		}
		key = raw
	}
	var report verifyReport
	var checkpoints []service.Checkpoint
	var chainKey []byte
	var err error
	if *file != "" {
		if checkpoints, key, report.Problems, err = service.ReadCheckpoints(*file, key); err != nil {
			return err
		}
		report.CheckpointKey, report.Checkpoints = key, len(checkpoints)
	}
	if *nodeKey != "" {
		if chainKey, err = service.ChainKey(*nodeKey); err != nil {
			return err
		}
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if report.Nodes, err = service.VerifyAudit(ctx, c, *node, checkpoints, chainKey); err != nil {
		return err
	}
	return report.print(io, r.json())
}

type verifyReport struct {
	Nodes         []service.NodeAudit    `json:"nodes"`
	Checkpoints   int                    `json:"checkpoints"`
	CheckpointKey []byte                 `json:"checkpoint_key,omitempty"`
	Problems      []service.AuditProblem `json:"problems,omitempty"` // of the checkpoint file
}

func (v verifyReport) print(io streams, asJSON bool) error {
	whole := len(v.Problems) == 0
	for _, n := range v.Nodes {
		whole = whole && len(n.Problems) == 0
	}
	if asJSON {
		if err := printJSON(io, v); err != nil {
			return err
		}
	} else {
		if v.CheckpointKey != nil {
			fmt.Fprintf(io.out, "%d checkpoints, signed with %s\n", v.Checkpoints, base64.StdEncoding.EncodeToString(v.CheckpointKey))
		}
		printProblems(io, v.Problems)
		for _, n := range v.Nodes {
			fmt.Fprintf(io.out, "%s: %d records, the newest is %d, %d checkpoints agree\n", n.Node, n.Records, n.Seq, n.Checkpoints)
			printProblems(io, n.Problems)
		}
	}
	if !whole {
		return errNotWhole
	}
	return nil
}

func printProblems(io streams, problems []service.AuditProblem) {
	for _, p := range problems {
		where := ""
		if p.Last > 0 {
			where = fmt.Sprintf(" %d to %d", p.First, p.Last)
		}
		fmt.Fprintf(io.out, "  %s%s: %s\n", p.Kind, where, p.Detail)
	}
}
