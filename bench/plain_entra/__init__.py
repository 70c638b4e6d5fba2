"""The plain function with Microsoft Entra ID instead of an access key."""
