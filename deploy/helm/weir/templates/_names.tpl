{{- define "weir.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "weir.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "weir.semcache.name" -}}
{{- include "weir.name" . | trunc 44 | trimSuffix "-" }}-semcache
{{- end -}}

{{- define "weir.semcache.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-semcache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "weir.semcache.labels" -}}
{{ include "weir.semcache.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
