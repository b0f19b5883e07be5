/* A stand-in for libnvidia-ml.so.1: two GPUs whose state a file decides, so that a test can change it while a sampler
 * runs. The file (NVML_FAKE) holds one word: "ok", "none" (no GPU), "gone" (the driver does not answer), "lost" (the
 * second GPU does not answer), "nodriver" (initialising fails), "hot" (the first GPU is slowed down and has memory
 * errors), "mig" (the second GPU has one instance, in the second of two places); the other words of `sick` below are
 * states of the first GPU or of the driver, which `model-garden doctor` reports. After the word may stand the first
 * GPU's energy counter in mJ and the power of both in mW. Compiled with -DBARE it lacks all that is optional. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int index; } *Device;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Rates;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } Process;

enum { OK = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, NO_PERMISSION = 4, VERSION_MISMATCH = 18 };

static struct { int index; } gpus[3] = {{0}, {1}, {2}}; /* the third is the instance of the second */

static int state(const char *word) {
    char found[16] = "ok";
    FILE *file = fopen(getenv("NVML_FAKE"), "r");
    if (file) { if (fscanf(file, "%15s", found) != 1) found[0] = 0; fclose(file); }
    return strcmp(found, word) == 0;
}

static unsigned long long number(int which, unsigned long long otherwise) {
    unsigned long long found[2];
    FILE *file = fopen(getenv("NVML_FAKE"), "r");
    int read = file ? fscanf(file, "%*s %llu %llu", &found[0], &found[1]) : 0;
    if (file) fclose(file);
    return read > which ? found[which] : otherwise;
}

int nvmlInitWithFlags(unsigned int flags) {
    if (state("mismatch")) return VERSION_MISMATCH;
    if (state("nopermission")) return NO_PERMISSION;
    return state("nodriver") || state("gone") ? DRIVER_NOT_LOADED : OK;
}
int nvmlShutdown(void) { return state("gone") ? UNINITIALIZED : OK; }
const char *nvmlErrorString(int code) { return "an error"; }
int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = state("none") ? 0 : 2;
    return state("gone") ? UNINITIALIZED : OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device *device) {
    if (index == 1 && state("lost")) return GPU_IS_LOST;
    *device = (Device)&gpus[index];
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    int index = strcmp(uuid, "GPU-0000") == 0 ? 0 : strcmp(uuid, "GPU-0001") == 0 ? 1 : -1;
    return index < 0 || state("gone") ? UNINITIALIZED : nvmlDeviceGetHandleByIndex_v2((unsigned int)index, device);
}

#ifndef BARE
int nvmlDeviceGetName(Device d, char *name, unsigned int length) {
    if (state("mixed") && !d->index) snprintf(name, length, "Other GPU");
    else snprintf(name, length, "Fake GPU %d", state("pair") ? 0 : d->index);
    return OK;
}
int nvmlDeviceGetUUID(Device d, char *uuid, unsigned int length) {
    snprintf(uuid, length, "GPU-%04d", d->index);
    return OK;
}
int nvmlDeviceGetMemoryInfo(Device d, Memory *memory) {
    memory->total = 80ULL << 30; memory->used = (state("idle") ? 0ULL : state("hidden") && !d->index ? 70ULL : 10ULL + d->index) << 30; memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetUtilizationRates(Device d, Rates *rates) { rates->gpu = 50 + d->index; rates->memory = 1; return OK; }
int nvmlDeviceGetPowerUsage(Device d, unsigned int *milliwatts) { *milliwatts = (unsigned int)number(1, 123456); return OK; }
int nvmlDeviceGetEnforcedPowerLimit(Device d, unsigned int *milliwatts) {
    *milliwatts = state("lowlimit") ? 300000 : 700000; return OK;
}
int nvmlDeviceGetTemperature(Device d, int sensor, unsigned int *celsius) {
    *celsius = (state("boiling") ? 93 : 40) + d->index; return OK;
}
int nvmlDeviceGetTotalEnergyConsumption(Device d, unsigned long long *mj) { *mj = number(0, 5000); return d->index ? NOT_SUPPORTED : OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(Device d, unsigned int *count, Process *processes) {
    unsigned int room = *count, pid = (unsigned int)atoi(getenv("NVML_PID"));
    if (d->index || state("hidden") || state("idle")) { *count = 0; return OK; }
    *count = 2;
    if (!processes || room < 2) return INSUFFICIENT_SIZE;
    processes[0] = (Process){4194305, ~0ULL, 0, 0};
    processes[1] = (Process){pid, 7ULL << 30, 0, 0};
    return OK;
}
int nvmlDeviceGetClockInfo(Device d, int kind, unsigned int *mhz) { *mhz = kind == 1 ? 1200 : 0; return OK; }
int nvmlDeviceGetMaxClockInfo(Device d, int kind, unsigned int *mhz) { *mhz = kind == 1 ? 1980 : 0; return OK; }
int nvmlDeviceGetCurrentClocksEventReasons(Device d, unsigned long long *bits) {
    *bits = state("hot") && !d->index ? 0x04 | 0x40 : 0x01;
    if (!d->index && state("capped")) *bits = 0x04;
    if (!d->index && state("slowdown")) *bits = 0x08;
    if (!d->index && state("warm")) *bits = 0x20;
    if (!d->index && state("brake")) *bits = 0x80;
    return OK;
}
int nvmlDeviceGetTotalEccErrors(Device d, int kind, int counter, unsigned long long *count) {
    *count = state("hot") && kind == 1 && counter == 0 ? 3 : 0;
    return d->index ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetMigMode(Device d, unsigned int *now, unsigned int *then) {
    *now = *then = (state("mig") && d->index == 1) || (state("migempty") && d->index == 0);
    return d->index || state("migempty") ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMaxMigDeviceCount(Device d, unsigned int *count) { *count = 2; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(Device d, unsigned int index, Device *instance) {
    *instance = (Device)&gpus[2];
    return index == 1 && !state("migempty") ? OK : NOT_FOUND;
}
int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    snprintf(version, length, "%s", state("olddriver") ? "535.104.05" : state("ancient") ? "470.82.01" : "580.65.06");
    return OK;
}
int nvmlSystemGetCudaDriverVersion(int *version) {
    *version = state("olddriver") ? 12020 : state("ancient") ? 11040 : 13000;
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(Device d, int *major, int *minor) {
    *major = state("volta") ? 7 : state("pascal") ? 6 : 9;
    *minor = state("pascal") ? 1 : state("volta") ? 5 : 0;
    return OK;
}
int nvmlDeviceGetComputeMode(Device d, int *mode) {
    *mode = d->index ? 0 : state("prohibited") ? 2 : state("exclusive") ? 3 : 0;
    return OK;
}
int nvmlDeviceGetEccMode(Device d, int *now, int *then) { *now = *then = !state("eccoff"); return OK; }
int nvmlDeviceGetRemappedRows(Device d, unsigned int *corrected, unsigned int *uncorrected, unsigned int *pending,
                              unsigned int *failed) {
    *corrected = *uncorrected = 0;
    *pending = !d->index && state("pending");
    *failed = !d->index && state("worn");
    return OK;
}
int nvmlDeviceGetCurrPcieLinkWidth(Device d, unsigned int *width) { *width = state("narrow") && !d->index ? 1 : 16; return OK; }
int nvmlDeviceGetMaxPcieLinkWidth(Device d, unsigned int *width) { *width = 16; return OK; }
int nvmlDeviceGetPowerManagementDefaultLimit(Device d, unsigned int *milliwatts) { *milliwatts = 700000; return OK; }
#endif
