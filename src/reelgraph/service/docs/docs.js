// The validator of Swagger UI would be asked at an outside host.
SwaggerUIBundle({ url: "/api/openapi.json", dom_id: "#docs", validatorUrl: null, deepLinking: true });
