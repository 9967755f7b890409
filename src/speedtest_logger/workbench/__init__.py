"""The workbench: free questions to an archive in a browser. An option, on this machine only; it needs Streamlit."""
