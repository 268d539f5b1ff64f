// validatorUrl: Swagger UI would otherwise send the schema to an external validator.
SwaggerUIBundle({ url: "/api/openapi.json", dom_id: "#docs", validatorUrl: null, deepLinking: true });
