package run

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strconv"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/internal/seal"
)

// Source is a foreign server with the user mapping in force (pc_source).
type Source struct {
	ServerOID  uint32
	MappingOID uint32 // 0: none
	ServerName string

	// Under which the syscache tells of changes of the two.
	ServerHash, MappingHash uint32

	Server  map[string]string // options
	Mapping map[string]string
}

// connKey names what remote connections may stand for each other. Options are
// part of it: after ALTER SERVER the old connection serves no new statement.
type connKey struct {
	server, mapping uint32
	options         [sha256.Size]byte
}

func (s *Source) key() connKey {
	text := appendOptions(appendOptions(nil, s.Server), s.Mapping)
	return connKey{server: s.ServerOID, mapping: s.MappingOID, options: sha256.Sum256(text)}
}

func appendOptions(text []byte, options map[string]string) []byte {
	names := slices.Sorted(maps.Keys(options))
	text = append(strconv.AppendInt(text, int64(len(names)), 10), ';')
	for _, name := range names {
		text = append(strconv.AppendQuote(text, name), '=')
		text = append(strconv.AppendQuote(text, options[name]), ';')
	}
	return text
}

// env is what dialects need of this node.
func (e *Engine) env() fdw.Env {
	env := fdw.Env{FileFolder: e.cfg.FileFolder}
	if e.cfg.KeyFile != "" {
		env.Unseal = func(sealed string) (string, error) { return seal.Unseal(e.cfg.KeyFile, sealed) }
	}
	return env
}

// Seal seals a secret with the node's key.
func (e *Engine) Seal(secret string) (string, error) {
	if e.cfg.KeyFile == "" {
		return "", &Error{
			State:   "55000",
			Message: "this node has no key to seal secrets with",
			Hint:    "Set portcullis.key_file in postgresql.conf; immutasys.create_key_file() makes the file.",
		}
	}
	sealed, err := seal.Seal(e.cfg.KeyFile, secret)
	if err != nil {
		return "", &Error{State: stateSystem, Message: "could not seal the secret", Detail: err.Error(), Hint: "The server must be able to read portcullis.key_file."}
	}
	return sealed, nil
}
