#include "base/sealed.h"
#include "dispatch/dispatch.h"

#include <stdlib.h>

void dispatch_job_free_result(struct dispatch_job *job) {
    if (job->result_is_mapped) {
        sealed_unmap(job->result, job->result_bytes);
    } else {
        free(job->result);
    }
    job->result = NULL;
    job->result_is_mapped = false;
}
