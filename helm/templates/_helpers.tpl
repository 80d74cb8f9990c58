{{/* Names, labels and what is computed from several values. */}}

{{- define "quartet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What pods are selected by: never changes while a release lives. */}}
{{- define "quartet.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "quartet.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "quartet.labels" -}}
{{ include "quartet.selector" . }}
{{ include "quartet.commonLabels" . }}
{{- end -}}

{{- define "quartet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "quartet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "quartet.image" -}}
{{- $tag := default (printf "%s%s" .Chart.AppVersion (ternary "" "-cpu" .Values.gpu.enabled)) .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{/* The model's id in the API, as the server finds it. */}}
{{- define "quartet.model" -}}
{{- $config := .Values.config -}}
{{- if $config.name -}}
{{- $config.name -}}
{{- else if $config.model -}}
{{- $config.model | trimSuffix "/" | splitList "/" | last -}}
{{- else -}}
demo
{{- end -}}
{{- end -}}

{{- define "quartet.kind" -}}
{{- ternary "StatefulSet" "Deployment" (eq .Values.cache.kind "perReplica") -}}
{{- end -}}

{{- define "quartet.scaled" -}}
{{- if ne .Values.autoscaling.kind "none" -}}true{{- end -}}
{{- end -}}

{{/* Most pods at a time, and fewest. */}}
{{- define "quartet.mostPods" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicas (eq (include "quartet.scaled" .) "true") | int -}}
{{- end -}}
{{- define "quartet.fewestPods" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicas (eq (include "quartet.scaled" .) "true") | int -}}
{{- end -}}

{{- define "quartet.gpus" -}}
{{- mul .Values.parallel.tensor .Values.parallel.pipeline .Values.parallel.data -}}
{{- end -}}

{{/* From leaving the Service to the last word: the pause, the server's own grace, its last words, the engine's end. */}}
{{- define "quartet.gracePeriod" -}}
{{- $grace := dig "grace_seconds" 30 .Values.config -}}
{{- add .Values.shutdown.preStopSeconds (ceil $grace) .Values.shutdown.marginSeconds -}}
{{- end -}}

{{- define "quartet.port" -}}
{{- dig "port" 8000 .Values.config | int -}}
{{- end -}}

{{/* The server's YAML file. Numbers as JSON spells them, because YAML would write a large one as 2.68e+08. */}}
{{- define "quartet.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.keys.existingSecret -}}
{{- $_ := set $config "keys_file" (printf "/etc/quartet/keys/%s" .Values.keys.key) -}}
{{- end -}}
{{- if not (hasKey $config "files_dir") -}}
{{- $_ := set $config "files_dir" "/files" -}}
{{- end -}}
{{- range $name := keys $config | sortAlpha -}}
{{ $name }}: {{ get $config $name | toJson }}
{{ end -}}
{{- end -}}

{{/* Changes with the Secrets whose values are environment variables; their versions, since a hash of a value tells too much. */}}
{{- define "quartet.secretVersions" -}}
{{- $versions := dict -}}
{{- range $setting, $ref := .Values.secrets -}}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace $ref.name -}}
{{- if $secret -}}
{{- $_ := set $versions $ref.name $secret.metadata.resourceVersion -}}
{{- end -}}
{{- end -}}
{{- if $versions -}}{{- $versions | toJson | sha256sum -}}{{- end -}}
{{- end -}}

{{/* One environment variable from a Secret: dict "name" "ref". */}}
{{- define "quartet.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .ref.name }}
      key: {{ .ref.key }}
{{- end -}}

{{- define "quartet.updateStrategy" -}}
{{- if .Values.updateStrategy -}}
{{ toYaml .Values.updateStrategy }}
{{- else if eq (include "quartet.kind" .) "StatefulSet" -}}
type: RollingUpdate
{{- else if .Values.gpu.enabled -}}
type: RollingUpdate
rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
{{- else -}}
type: RollingUpdate
rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
{{- end -}}
{{- end -}}
