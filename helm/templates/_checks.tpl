{{/* What each value alone cannot be blamed for: combinations that would fail later, or silently do something else. */}}
{{- define "quartet.checks" -}}
{{- $v := .Values -}}
{{- if and (eq $v.cache.kind "existingClaim") (not $v.cache.existingClaim) -}}
{{- fail "cache.kind is existingClaim: name the claim in cache.existingClaim" -}}
{{- end -}}
{{- if and (eq $v.cache.kind "claim") (gt (include "quartet.mostPods" . | int) 1) (not (has "ReadWriteMany" $v.cache.accessModes)) -}}
{{- fail "cache.kind is claim and there may be several pods: set cache.accessModes to [ReadWriteMany], or cache.kind to perReplica or emptyDir" -}}
{{- end -}}
{{- if and (eq $v.files.kind "existingClaim") (not $v.files.existingClaim) -}}
{{- fail "files.kind is existingClaim: name the claim in files.existingClaim" -}}
{{- end -}}
{{- if and $v.keys.existingSecret (hasKey $v.config "keys_file") -}}
{{- fail "keys.existingSecret and config.keys_file: set one of them; the chart writes keys_file for the Secret" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress.enabled: name at least one host in ingress.hosts" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) -}}
{{- fail "gateway.enabled: name the Gateway in gateway.parentRefs" -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor.enabled $v.monitoring.podMonitor.enabled -}}
{{- fail "monitoring: serviceMonitor and podMonitor would count everything twice; enable one of them" -}}
{{- end -}}
{{- if include "quartet.scaled" . -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling: minReplicas %d is more than maxReplicas %d" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq (int $v.autoscaling.minReplicas) 0) (or (ne $v.autoscaling.kind "keda") (not $v.autoscaling.keda.extraTriggers)) -}}
{{- fail "autoscaling.minReplicas is 0: nobody waits at a server that is not there; use kind keda and name in autoscaling.keda.extraTriggers what starts the first pod (a schedule, the requests at your ingress)" -}}
{{- end -}}
{{- end -}}
{{- if and (dig "files" true $v.config) (not $v.config.files_url) (gt (include "quartet.mostPods" . | int) 1) -}}
{{- if or (eq $v.files.kind "emptyDir") (and (eq $v.files.kind "claim") (not (has "ReadWriteMany" $v.files.accessModes))) -}}
{{- fail "there may be several pods, and a file that a client uploads to one would be unknown to the others: name a bucket in config.files_url, set files.kind to claim or existingClaim with ReadWriteMany, or set config.files to false" -}}
{{- end -}}
{{- end -}}
{{- end -}}
