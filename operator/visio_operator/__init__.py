"""The operator: one VisioDeployment becomes a whole video-conferencing platform on Kubernetes, and stays one."""
