"""Spans of a request for OpenTelemetry, between the client's own and vLLM's; only with `otlp_endpoint`.

    spans        how a span is made; nothing happens where tracing is off
    middleware   the span of a request, and that of its body
    engine       the spans of the engine's work on it

    client's span
    `- POST /v1/chat/completions      the whole request
       |- receive                     its body arrives
       |- medium                      one for each; modality, source, outcome
       |  |- fetch                    its bytes are read from where they are
       |  `- decode                   and decoded, without the wait for a process
       |- first token                 waiting for the engine, encoding media, reading the prompt
       |- further tokens              from the first to the last
       `- llm_request                 vLLM's own

The tracer is the one that vLLM sets up: exporter, protocol and sampling are those of its process. No span holds
anything that a client wrote.
"""
