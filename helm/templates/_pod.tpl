{{/* Folders that can be written: everything else of the image is read-only. */}}
{{- define "quartet.mounts" -}}
- {name: config, mountPath: /etc/quartet/config, readOnly: true}
- {name: cache, mountPath: /cache}
- {name: temporary, mountPath: /tmp}
{{- if .Values.models.existingClaim }}
- {name: models, mountPath: {{ .Values.models.mountPath | quote }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where the processes write; the hub's token is the concern of whoever downloads. */}}
{{- define "quartet.environment" -}}
- {name: HOME, value: /tmp}
- {name: QUARTET_CACHE, value: /cache/quartet}
- {name: HF_HOME, value: /cache/huggingface}
- {name: VLLM_CACHE_ROOT, value: /cache/vllm}
{{- end -}}

{{- define "quartet.podTemplate" -}}
{{- $grace := include "quartet.gracePeriod" . -}}
{{- $model := dig "model" "" .Values.config -}}
metadata:
  labels:
    {{- include "quartet.selector" . | nindent 4 }}
    {{- with merge (dict) .Values.podLabels .Values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "quartet.config" . | sha256sum }}
    {{- if .Values.rollOnSecretChange }}
    {{- with include "quartet.secretVersions" . }}
    checksum/secrets: {{ . }}
    {{- end }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "quartet.serviceAccount" . }}
  automountServiceAccountToken: false
  # Variables of other services would look like settings of ours.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $grace }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - labelSelector:
        matchLabels:
          {{- include "quartet.selector" $ | nindent 10 }}
      {{- toYaml (merge (dict) . (dict "maxSkew" 1 "whenUnsatisfiable" "ScheduleAnyway")) | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- if or .Values.prefetch.enabled .Values.extraInitContainers }}
  initContainers:
    {{- if .Values.prefetch.enabled }}
    - name: prefetch
      image: {{ include "quartet.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [quartet, fetch{{ with $model }}, {{ . | quote }}{{ end }}]
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      env:
        {{- include "quartet.environment" . | nindent 8 }}
        {{- with .Values.secrets.hub_token }}
        {{- include "quartet.secretVariable" (dict "name" "HF_TOKEN" "ref" .) | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "quartet.mounts" . | nindent 8 }}
    {{- end }}
    {{- with .Values.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: server
      image: {{ include "quartet.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [quartet]
      args:
        - serve
        {{- $flags := include "quartet.engineArgs" . | fromJsonArray }}
        {{- if $flags }}
        - "--"
        {{- toYaml $flags | nindent 8 }}
        {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      env:
        - {name: QUARTET_CONFIG, value: /etc/quartet/config/quartet.yaml}
        {{- include "quartet.environment" . | nindent 8 }}
        {{- if .Values.prefetch.enabled }}
        - {name: HF_HUB_OFFLINE, value: "1"}
        {{- end }}
        {{- range $setting, $ref := .Values.secrets }}
        {{- if not (and (eq $setting "hub_token") $.Values.prefetch.enabled) }}
        {{- include "quartet.secretVariable" (dict "name" (printf "QUARTET_%s" (upper $setting)) "ref" $ref) | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: http, containerPort: {{ include "quartet.port" . }}, protocol: TCP}
      # Nothing listens before the weights are loaded.
      startupProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ divf .Values.startup.timeoutSeconds 5 | ceil | int }}
      readinessProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      # However long the queue: only a process that answers nothing for a minute is started again.
      livenessProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 10
        timeoutSeconds: 10
        failureThreshold: 6
      {{- if .Values.shutdown.preStopSeconds }}
      lifecycle:
        preStop:
          exec: {command: [sleep, {{ .Values.shutdown.preStopSeconds | toString | quote }}]}
      {{- end }}
      resources:
        {{- $resources := deepCopy .Values.resources }}
        {{- if .Values.gpu.enabled }}
        {{- $limits := deepCopy (default (dict) $resources.limits) }}
        {{- $_ := set $limits .Values.gpu.resource (include "quartet.gpus" . | int) }}
        {{- $_ := set $resources "limits" $limits }}
        {{- end }}
        {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        {{- include "quartet.mounts" . | nindent 8 }}
        - {name: files, mountPath: /files}
        - {name: shared-memory, mountPath: /dev/shm}
        {{- if .Values.keys.existingSecret }}
        - {name: keys, mountPath: /etc/quartet/keys, readOnly: true}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "quartet.fullname" . }}}
    - name: temporary
      emptyDir: {sizeLimit: {{ .Values.temporary }}}
    - name: shared-memory
      emptyDir: {medium: Memory, sizeLimit: {{ .Values.sharedMemory }}}
    {{- if eq .Values.cache.kind "emptyDir" }}
    - name: cache
      emptyDir: {sizeLimit: {{ .Values.cache.size }}}
    {{- else if eq .Values.cache.kind "claim" }}
    - name: cache
      persistentVolumeClaim: {claimName: {{ include "quartet.fullname" . }}-cache}
    {{- else if eq .Values.cache.kind "existingClaim" }}
    - name: cache
      persistentVolumeClaim: {claimName: {{ .Values.cache.existingClaim }}}
    {{- end }}
    - name: files
      {{- if eq .Values.files.kind "emptyDir" }}
      emptyDir: {sizeLimit: {{ .Values.files.size }}}
      {{- else if eq .Values.files.kind "claim" }}
      persistentVolumeClaim: {claimName: {{ include "quartet.fullname" . }}-files}
      {{- else }}
      persistentVolumeClaim: {claimName: {{ .Values.files.existingClaim }}}
      {{- end }}
    {{- with .Values.models.existingClaim }}
    - name: models
      persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
    {{- end }}
    {{- with .Values.keys.existingSecret }}
    - name: keys
      secret: {secretName: {{ . }}}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Flags of vLLM's own server, as a JSON list. */}}
{{- define "quartet.engineArgs" -}}
{{- $flags := list -}}
{{- $p := .Values.parallel -}}
{{- if gt (int $p.tensor) 1 }}{{ $flags = concat $flags (list "--tensor-parallel-size" (toString $p.tensor)) }}{{ end -}}
{{- if gt (int $p.pipeline) 1 }}{{ $flags = concat $flags (list "--pipeline-parallel-size" (toString $p.pipeline)) }}{{ end -}}
{{- if gt (int $p.data) 1 }}{{ $flags = concat $flags (list "--data-parallel-size" (toString $p.data)) }}{{ end -}}
{{- concat $flags .Values.engineArgs | toJson -}}
{{- end -}}
