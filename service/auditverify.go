package service

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
)

// AuditProblem is what verification found: gap (records are missing), fork
// (two records in one place), edit (a record is not what it was), cut (records
// that were there are not any more) or checkpoint (a line of that file).
type AuditProblem struct {
	Node   string `json:"node,omitempty"`
	Kind   string `json:"kind"`
	First  int64  `json:"first_seq,omitempty"`
	Last   int64  `json:"last_seq,omitempty"`
	Detail string `json:"detail"`
}

// NodeAudit is the outcome for one node.
type NodeAudit struct {
	Node        string         `json:"node"`
	Records     int64          `json:"records"`
	Seq         int64          `json:"seq"`         // of the newest
	Checkpoints int            `json:"checkpoints"` // that the records agree with
	Problems    []AuditProblem `json:"problems,omitempty"`
}

// ReadCheckpoints reads a checkpoint file. Lines that are torn, not signed by
// the key, or do not follow the line before are problems. Without a key the
// one of the first line counts.
func ReadCheckpoints(file string, key ed25519.PublicKey) (list []Checkpoint, signedBy ed25519.PublicKey, problems []AuditProblem, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("checkpoint file: %w", err)
	}
	defer f.Close()
	in, previous := bufio.NewReader(f), ""
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return list, key, problems, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, nil, fmt.Errorf("checkpoint file: %w", err)
		}
		c, why := readCheckpoint(line, &key)
		if why == "" && c.Previous != previous {
			why = "does not follow the line before: lines are missing or changed"
		}
		previous = lineDigest(line)
		if why != "" {
			problems = append(problems, AuditProblem{Kind: "checkpoint", Detail: fmt.Sprintf("line %d %s", n, why)})
		}
		if c.Heads != nil {
			list = append(list, c)
		}
	}
}

func readCheckpoint(line []byte, key *ed25519.PublicKey) (c Checkpoint, why string) {
	var signed SignedCheckpoint
	if json.Unmarshal(line, &signed) != nil || json.Unmarshal(signed.Checkpoint, &c) != nil {
		return Checkpoint{}, "cannot be read"
	}
	if *key == nil && len(signed.Key) == ed25519.PublicKeySize {
		*key = signed.Key
	}
	if !bytes.Equal(signed.Key, *key) {
		return Checkpoint{}, "is signed with another key"
	}
	if !ed25519.Verify(*key, signed.Checkpoint, signed.Signature) {
		return Checkpoint{}, "has a wrong signature"
	}
	return c, ""
}

// ChainKey is the key of a node's audit chain, made of its key file.
func ChainKey(keyFile string) ([]byte, error) {
	raw, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("portcullis audit chain"))
	return mac.Sum(nil), nil
}

// VerifyAudit reads the records of a node ("": of every node) from a service
// and compares them with their digests and chains, and with checkpoints. With
// the key of the node's chain it also proves that the node wrote them.
func VerifyAudit(ctx context.Context, c *Client, node string, checkpoints []Checkpoint, chainKey []byte) ([]NodeAudit, error) {
	var heads []AuditHead
	if err := c.Call(ctx, http.MethodGet, "/v1/audit/heads", nil, &heads); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, h := range heads {
		known[h.Node] = true
	}
	for _, p := range checkpoints {
		for _, h := range p.Heads {
			if !known[h.Node] {
				known[h.Node] = true
				heads = append(heads, AuditHead{Node: h.Node})
			}
		}
	}
	var all []NodeAudit
	for _, h := range heads {
		if node != "" && node != h.Node {
			continue
		}
		v := newVerifier(h, checkpoints, chainKey)
		if err := v.read(ctx, c); err != nil {
			return nil, err
		}
		all = append(all, v.finish())
	}
	if len(all) == 0 && node != "" {
		return nil, fmt.Errorf("the service has no audit records of node %q", node)
	}
	return all, nil
}

// read feeds the verifier with what had arrived when the head was read.
func (v *verifier) read(ctx context.Context, c *Client) error {
	after := int64(0)
	for v.Records < v.head.Records {
		var page []ChainEntry
		path := "/v1/audit/chain?node=" + url.QueryEscape(v.Node) + "&after=" + strconv.FormatInt(after, 10)
		if err := c.Call(ctx, http.MethodGet, path, nil, &page); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, e := range page {
			if after = e.Arrival; v.Records < v.head.Records {
				v.take(e)
			}
		}
	}
	return nil
}
