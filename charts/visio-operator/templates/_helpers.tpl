{{/* The name of all objects: the release's own, or with the chart's name behind it when the release is named otherwise. */}}
{{- define "visio-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "visio-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "visio-operator.labels" -}}
{{ include "visio-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "visio-operator.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* Objects outside the operator's namespace carry it in their names: two installations do not take each other's. */}}
{{- define "visio-operator.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "visio-operator.name" .) }}
{{- end -}}

{{- define "visio-operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "visio-operator.name" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}
