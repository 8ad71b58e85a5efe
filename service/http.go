package service

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"portcullis.dev/portcullis/policy"
)

// Server is the HTTP API over a Store.
type Server struct {
	store   *Store
	log     *slog.Logger
	engine  *Engine // nil: no engine to keep in step
	watch   *watcher
	metrics *metrics
	native  *Connections
	resyncs resyncs
	routes  []route
	now     func() time.Time
	closing chan struct{} // closed when Run ends: streams end too
}

// access says who may call a route.
type access int

const (
	open      access = iota // everybody
	tokenOnly               // a node with its token
	keyOnly                 // an API key, which must hold a permission
)

// route is one path of the API with what the OpenAPI document says of it.
type route struct {
	method, path string
	access       access
	permission   policy.Permission // keyOnly: needed; "" any valid key
	nodes        bool              // keyOnly: also for the key with which a node registers its tables
	summary      string
	body, reply  any // samples for their types
	params       []param
	status       int // of success, default 200
	handle       func(w http.ResponseWriter, r *http.Request, c caller) error
}

type param struct{ name, in, about string }

// caller is who calls: a key or a node.
type caller struct {
	key     APIKey
	node    string
	token   string    // of the node
	expires time.Time // of the token
}

func (c caller) actor() string { return "api key " + c.key.Name }

// allowed tells whether the caller's key holds the permission.
func (c caller) allowed(p policy.Permission) bool {
	return slices.Contains(c.key.Permissions, p) || p != policy.PermissionImpersonate && slices.Contains(c.key.Permissions, policy.PermissionAdmin)
}

// NewServer makes the API. Handler serves it, watch must run beside it.
func NewServer(store *Store, engine *Engine, log *slog.Logger) *Server {
	s := &Server{store: store, engine: engine, log: log, watch: newWatcher(store, log), metrics: newMetrics(), now: time.Now, closing: make(chan struct{})}
	s.native = newConnections(store, s.watch, newConnectionMetrics(s.metrics.registry), log)
	s.routes = s.allRoutes()
	return s
}

// Run watches for changes and keeps connections in step until ctx ends; then
// streams end. Call it once.
func (s *Server) Run(ctx context.Context) {
	defer close(s.closing)
	var native sync.WaitGroup
	defer native.Wait()
	native.Go(func() { s.native.run(ctx) })
	s.watch.run(ctx)
}

// Handler serves the API, /metrics and /healthz.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, rt := range s.routes {
		mux.HandleFunc(rt.method+" "+rt.path, s.serve(rt))
		methods[rt.path] = append(methods[rt.path], rt.method)
	}
	for path, allowed := range methods {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.fail(w, r, &Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Field: "method",
				Message: r.Method + " is not possible here", Hint: "Possible: " + strings.Join(allowed, ", ")})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Error{Status: http.StatusNotFound, Code: codeNotFound, Field: "path", Message: "there is nothing at " + r.URL.Path, Hint: "See /v1/openapi.json."})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.health)
	return mux
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if err := s.store.Ping(r.Context()); err != nil {
		s.fail(w, r, &Error{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: "the service's database does not answer"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) serve(rt route) http.HandlerFunc {
	label := rt.method + " " + rt.path
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer s.recovered(rec, r)
		c, err := s.authenticate(r, rt)
		if err == nil {
			err = checkAddress(r, rt)
		}
		if err == nil {
			err = rt.handle(rec, r, c)
		}
		if err != nil {
			s.fail(rec, r, err)
		}
		s.metrics.observe(label, rec.status, time.Since(start))
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "key", c.key.Name, "node", c.node, "took", time.Since(start))
	}
}

// checkAddress refuses a path or parameters that would not be read as they
// were meant, or that PostgreSQL cannot store.
func checkAddress(r *http.Request, rt route) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return malformed("query", "cannot be read: %v", err)
	}
	for name, values := range query {
		if !slices.ContainsFunc(rt.params, func(p param) bool { return p.name == name && p.in == "query" }) {
			return malformed(name, "is not a known parameter")
		}
		if len(values) > 1 {
			return malformed(name, "is given twice")
		}
		if err := checkText(name, values[0], maxString); err != nil {
			return err
		}
	}
	for _, p := range rt.params {
		if err := checkText(p.name, r.PathValue(p.name), maxString); err != nil {
			return err
		}
	}
	return nil
}

// recovered turns a panic of one request into its failure.
func (s *Server) recovered(w *recorder, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.Error("panic in a request", "path", r.URL.Path, "panic", p)
	s.fail(w, r, errors.New("panic"))
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (s *Server) authenticate(r *http.Request, rt route) (caller, error) {
	if rt.access == open {
		return caller{}, nil
	}
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || text == "" {
		return caller{}, unauthorized("a credential is needed", "Send Authorization: Bearer …")
	}
	if rt.access == tokenOnly {
		node, expires, err := s.store.NodeOf(r.Context(), text)
		return caller{node: node, token: text, expires: expires}, err
	}
	k, err := s.store.keyOf(r.Context(), text)
	if err != nil {
		return caller{}, err
	}
	c := caller{key: k}
	if k.Node != "" {
		if !rt.nodes || len(k.Permissions) == 0 {
			return c, forbidden("Authorization", "the API key %q is for node %q and not for this", k.Name, k.Node)
		}
		return c, nil
	}
	if rt.permission != "" && !c.allowed(rt.permission) {
		return c, forbidden("Authorization", "the API key %q lacks permission %s", k.Name, rt.permission)
	}
	return c, nil
}

// fail answers with the error. What is not an Error is logged, not shown.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(busy(err), &e) {
		if r.Context().Err() == nil {
			s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		}
		e = &Error{Status: http.StatusInternalServerError, Code: "internal", Message: "the service could not do this", Hint: "See the service's log."}
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, e.Status, map[string]*Error{"error": e})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client is gone if this fails
}

// metrics are the service's counters.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	denied   prometheus.Counter
	decided  prometheus.Counter
	records  prometheus.Counter
	findings *prometheus.CounterVec
	streams  prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_requests_total", Help: "Requests by route and status."}, []string{"route", "status"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "portcullis_request_seconds", Help: "Time to answer.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}, []string{"route"}),
		denied:   prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_decisions_denied_total", Help: "Decisions that deny."}),
		decided:  prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_decisions_total", Help: "Decisions made."}),
		records:  prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_audit_records_total", Help: "Audit records stored."}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_audit_findings_total", Help: "Gaps, late records, forks and edits in the audit chains of nodes."}, []string{"kind"}),
		streams:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "portcullis_event_streams", Help: "Nodes that listen for changes."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.denied, m.decided, m.records, m.findings, m.streams)
	return m
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, http.StatusText(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
